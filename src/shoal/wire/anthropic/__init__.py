"""Anthropic's dialect, the Messages API (https://platform.claude.com/docs/en/api/messages), for callers and for upstreams.

requests.py a request both ways, with blocks.py (content written), contents.py and members.py (content read), tools.py, formats.py
(structured output), sampling.py, thinking.py and families.py (what a model takes) as its parts; answers.py whole answers, streams.py
streamed ones as they are read and writing.py as they are written, with citations.py, usage.py and seals.py (proofs that are not
Anthropic's); errors.py; forward.py the same dialect on both sides; counting.py tokens of a request; betas.py headers; dialect.py the ports.
"""
