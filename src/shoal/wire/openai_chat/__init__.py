"""OpenAI's chat completions, for callers and upstreams.

forward.py passes a request and its answer on where both sides speak it; errors.py its errors; usage.py its token counts.
"""
