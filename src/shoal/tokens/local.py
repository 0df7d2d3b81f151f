"""The models on this machine: their own tokenizer and chat template, read from where their weights are prepared.

A directory of weights holds `tokenizer.json` (Hugging Face's format) and `model.json`, whose `chat_template` is Jinja2. Both are read when
first needed; the minnow's take about 30 MB of memory.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from jinja2 import Template

TOKENIZER, CARD = "tokenizer.json", "model.json"


class _Card(msgspec.Struct, frozen=True):
    chat_template: str = ""
    bos_token: str = ""
    eos_token: str = ""


_card = msgspec.json.Decoder(_Card)


class Local:
    """One local model as far as counting goes."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError or ValueError when the directory does not hold a tokenizer."""
        from tokenizers import Tokenizer  # here, as the template's engine below: only a worker that counts carries them

        card = directory / CARD
        self._tokenizer = Tokenizer.from_str((directory / TOKENIZER).read_text("utf-8"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._card = _card.decode(card.read_bytes()) if card.is_file() else _Card()
        self._special = sorted({added.content for added in self._tokenizer.get_added_tokens_decoder().values() if added.special})

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(self._tokenizer.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids) for text in texts]

    def count_turns(self, turns: Sequence[tuple[str, str]]) -> int | None:
        """Tokens of the prompt that the chat template makes of turns (role and text); None where that cannot be told from here.

        That is so when there is no template, when it refuses, and when a text spells a special token, which the model is not shown as one.
        """
        if self._template is None or any(mark in text for _, text in turns for mark in self._special):
            return None
        import jinja2

        named = {"bos_token": self._card.bos_token, "eos_token": self._card.eos_token}
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            prompt = self._template.render(messages=messages, add_generation_prompt=True, **named)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, RecursionError):
            return None  # the model itself says why, when it is asked
        return self.count_texts([prompt])[0]

    @functools.cached_property
    def _template(self) -> "Template | None":
        import jinja2
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        try:
            return environment.from_string(self._card.chat_template) if self._card.chat_template else None
        except jinja2.TemplateError:
            return None
