"""Dialects: bytes of the wire to and from what all of them share, core's nouns. Pure.

dialects.py is the table of them all. openai_chat, openai_responses, anthropic and gemini are spoken by callers and upstreams; bedrock and
cohere by upstreams alone. embeddings.py and rerank.py are the endpoints that are no conversation; sse.py frames server-sent events.
"""
