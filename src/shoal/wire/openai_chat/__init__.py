"""OpenAI's chat completions, for callers and upstreams; dialect.py offers them to the gateway.

forward.py passes a request and its answer on where both sides speak it, with extensions.py (members that a provider would refuse) and
contents.py (lists to texts). requests.py reads and writes requests, with messages.py (a caller's messages), turns.py (an upstream's),
parts.py, tools.py and manners.py (how providers differ). answers.py and streams.py read and write answers, with chunks.py (what upstreams
say, to deltas), thoughts.py, usage.py and errors.py.
"""
