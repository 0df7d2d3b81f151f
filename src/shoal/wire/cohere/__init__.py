"""Cohere's v2 API, an upstream's dialect.

requests.py what is asked, with its messages in parts.py; answers.py whole answers, with usage.py and citations.py; streams.py streamed
ones; errors.py what went wrong; embeddings.py vectors; dialect.py the whole. Rankings are in wire/rerank.py, for callers too.
"""
