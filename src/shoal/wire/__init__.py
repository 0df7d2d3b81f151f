"""Dialects: bytes of the wire to and from what the gateway must know of them. Pure.

sse.py frames server-sent events; openai_chat is OpenAI's chat completions.
"""
