"""Shoal: one OpenAI-compatible endpoint for every language model, with a small model of your own behind it.

`gateway/serve.py` holds the path of a request as one sentence; start reading there.
`core` nouns, `wire` dialects, `routing` who answers (all pure); `net` sockets, `gateway` the path, `mini` the local model,
`storage` keys and the ledger, `telemetry` figures, `cli` the commands, `wiring` puts them together.
"""

__version__ = "0.1.0"
