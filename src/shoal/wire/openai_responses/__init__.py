"""OpenAI's Responses API, for callers and upstreams.

requests.py a conversation to and from a call, built of items.py (what a caller sends), input.py (what an upstream is sent), parts.py,
tools.py and reasoning.py; answers.py and streams.py the answer, whole and streamed, built of reading.py (an upstream's response to
deltas), output.py (deltas to items and events), response.py (the object around them), citations.py and usage.py; errors.py failures;
envelope.py what is known of a request before it is known who answers, history.py what came before it, forward.py Responses to Responses;
families.py what a model's name tells; checked.py decoding with errors that name their place; dialect.py all of it as the gateway's ports
want it.
"""
