"""From messages to prompt tokens, with the model's own chat template, run in a sandbox as transformers runs it.

What callers write never becomes a control token. Before rendering, every spelling of a special token in their strings is broken up by a
marker drawn at random when the process starts; the rendered prompt is cut at the markers and the pieces are encoded one by one, so the
tokenizer cannot see the spelling whole. The text itself is unchanged, and templates that look at it (trim it, search it) still can.
"""

import json
import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shoal.core.errors import Fault
from shoal.mini.engine import Tokenizer

_CHARACTERS_PER_TOKEN = 16  # more than any ordinary text has
_MOST_CHARACTERS_PER_TOKEN = 64  # only blanks, and words that a vocabulary does not know, have more
_STRETCH = 65_536

Turn = dict[str, Any]
"""A message as templates know it: role, content (a string), and tool_calls, tool_call_id and name where they apply."""


class TooLong(Exception):
    """A text has more tokens than were allowed; the message counts them, in words."""


def encode_pieces(encode: Callable[[str], list[int]], pieces: Sequence[str], limit: int) -> list[int]:
    """Tokens of all pieces, one after the other. Raises TooLong above `limit`.

    A text that is far too long is refused on its first part, or on its size: tokenizers keep the interpreter to themselves while they work.
    """
    size = sum(map(len, pieces))
    if size > _MOST_CHARACTERS_PER_TOKEN * limit:
        raise TooLong(f"{size} characters")
    if size > _CHARACTERS_PER_TOKEN * limit:
        count = 0
        for piece in pieces:
            for start in range(0, len(piece), _STRETCH):
                count += len(encode(piece[start : start + _STRETCH])) - 1  # a cut may add a token
                if count > limit:
                    raise TooLong(f"more than {limit} tokens")
    tokens: list[int] = []
    for piece in pieces:
        tokens += encode(piece)
    if len(tokens) > limit:
        raise TooLong(f"{len(tokens)} tokens")
    return tokens


class ChatTemplate:
    """A compiled chat template. `knows_tools` tells whether it renders tool lists and calls itself."""

    def __init__(self, source: str, tokenizer: Tokenizer, named_tokens: Mapping[str, str]) -> None:
        """Compile `source` (Jinja2). Raises ValueError when it is no valid template."""
        try:
            self._template = _make_environment().from_string(source)
        except jinja2.TemplateError as error:
            raise ValueError(f"the model's chat template is not valid: {error}") from error
        self._tokenizer = tokenizer
        self._named_tokens = dict(named_tokens)
        # no letters: a template may change the case of a text
        self._marker = f"\ue000{secrets.randbelow(10**18)}\ue001"
        self._end = f"\ue002{secrets.randbelow(10**18)}\ue003"
        spellings = sorted((name for name in tokenizer.special_tokens if len(name) > 1), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, spellings))) if spellings else None
        self.knows_tools = re.search(r"\btools\b", source) is not None

    def encode(self, turns: Sequence[Turn], tools: Sequence[dict[str, Any]] | None, limit: int, *, continued: bool = False) -> list[int]:
        """Prompt tokens for `turns`, with the assistant's turn opened, or with the last one left open if it is `continued`.

        Raises Fault (param `messages`) where the template refuses them, and TooLong.
        """
        return encode_pieces(self._tokenizer.encode, self.render(turns, tools, continued=continued).split(self._marker), limit)

    def encode_text(self, text: str) -> list[int]:
        """Tokens of what somebody wrote, by itself: no control token is among them."""
        return encode_pieces(self._tokenizer.encode, self._break_up_text(text).split(self._marker), sys.maxsize)

    def render(self, turns: Sequence[Turn], tools: Sequence[dict[str, Any]] | None = None, *, continued: bool = False) -> str:
        """The prompt as text, markers included. Raises Fault."""
        messages = self._break_up(list(turns))
        if continued:  # what a template puts after the last text is cut off where the text ends, as transformers does it
            messages[-1] = messages[-1] | {"content": messages[-1]["content"] + self._end}
        try:
            text = self._template.render(
                messages=messages,
                tools=self._break_up(list(tools)) if tools else None,
                add_generation_prompt=not continued,
                **self._named_tokens,
            )
            return text[: text.rindex(self._end)] if continued else text
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, RecursionError) as error:
            # a template is a program of the model's makers: what it cannot do with these messages, it says in its own words
            raise Fault("invalid_value", f"The model's chat template does not accept these messages: {error}", param="messages") from error

    def _break_up(self, value: Any) -> Any:
        """`value` with every special token in its strings broken up."""
        if isinstance(value, str):
            return self._break_up_text(value)
        if isinstance(value, dict):
            return {self._break_up(key): self._break_up(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._break_up(item) for item in value]
        return value

    def _break_up_text(self, text: str) -> str:
        # a spelling may hide in what is left of another, so look again until there is none
        while self._special is not None and self._special.search(text):
            text = self._special.sub(lambda match: match[0][0] + self._marker + match[0][1:], text)
        return text


class _Generation(Extension):
    """The block `{% generation %}`, with which training code finds the assistant's part; to a prompt it means nothing."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own declaration)

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _make_environment() -> jinja2.Environment:
    """The environment that model makers write for: transformers' (utils/chat_template_utils.py), functions included."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    # not Jinja's own filter: that one escapes for HTML
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
