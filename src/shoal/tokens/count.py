"""A number of tokens, and how sure it is."""

import msgspec


class Count(msgspec.Struct, frozen=True):
    """`exact`: the model's own tokenizer counted, framing included; else it is an estimate. `method` says how, for the caller to read."""

    tokens: int
    exact: bool
    method: str
