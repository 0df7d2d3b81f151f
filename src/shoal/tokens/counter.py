"""Counts the tokens of texts and conversations, exactly where that is possible in a short time, and says which it was.

Counting holds up whoever calls it: 0.1 s at the most for the largest text that is counted, and up to 0.3 s the first time, when a
vocabulary is loaded. Anything larger is estimated.
"""

from collections.abc import Sequence
from pathlib import Path

from shoal.core.conversation import Conversation
from shoal.core.models import Deployment
from shoal.core.students import PREFIX, parse_name
from shoal.tokens import framing
from shoal.tokens.count import Count
from shoal.tokens.encodings import count_texts, encoding_of
from shoal.tokens.estimate import ASCII_PER_TOKEN, CLAUDE_ASCII_PER_TOKEN, estimate_text
from shoal.tokens.files import count_file
from shoal.tokens.local import TOKENIZER, Local
from shoal.tokens.outline import Outline, outline
from shoal.tokens.pictures import count_picture

MOST_CHARACTERS, MOST_LOCAL_CHARACTERS = 1_000_000, 200_000
"""More are not counted but estimated."""
LOCAL = "minnow"
_OPENAI = frozenset({"openai", "azure"})


class Counter:
    """Counts for every model. `weights` is the directory that holds a directory for each local model."""

    def __init__(self, weights: Path | None = None) -> None:
        self._weights = weights
        self._local: dict[str, Local] = {}

    def count_text(self, text: str, model: str, provider: str) -> Count:
        """Tokens of a text alone, as the upstream calls the model: nothing around it is counted."""
        local = self._local_of(model) if provider == LOCAL else None
        if local is not None and len(text) <= MOST_LOCAL_CHARACTERS:
            return Count(local.count_texts([text])[0], True, f"{model}'s tokenizer")
        encoding = encoding_of(model) if local is None else None
        if encoding is not None and len(text) <= MOST_CHARACTERS:
            return Count(count_texts([text], encoding)[0], provider in _OPENAI or encoding == "o200k_harmony", encoding)
        return Count(estimate_text(text, _ascii_per_token(model, provider)), False, "estimate by characters")

    def count_conversation(self, conversation: Conversation, deployment: Deployment) -> Count:
        """Tokens of a whole request's input for a deployment."""
        parts = outline(conversation)
        model, provider = deployment.upstream_model, deployment.provider
        if deployment.local:
            counted = self._count_locally(conversation, parts, model)
            if counted is not None:
                return counted
        size = parts.size + sum(len(tool.parameters or b"") for tool in conversation.tools)
        encoding = None if deployment.local else encoding_of(model)
        if encoding is not None and size <= MOST_CHARACTERS:
            return _count_as_openai(conversation, parts, deployment, encoding)
        rate = _ascii_per_token(model, provider)
        texts = [*parts.texts, *parts.names, *framing.write_tools(conversation.tools)]
        tokens = sum(estimate_text(text, rate) for text in texts)
        tokens += framing.frame(parts.messages, len(parts.names)) + framing.CALL * parts.calls + framing.TOOL * len(conversation.tools)
        tokens += framing.CLAUDE_TOOLS if conversation.tools and _is_claude(model, provider) else 0
        return Count(tokens + _count_others(parts, model), False, "estimate by characters")

    def _count_locally(self, conversation: Conversation, parts: Outline, model: str) -> Count | None:
        """With the model's own tokenizer and template; None when there is none here, or too much to count."""
        local = self._local_of(model)
        if local is None or parts.size > MOST_LOCAL_CHARACTERS:
            return None
        plain = parts.turns is not None and not conversation.tools and conversation.format is None
        if plain and parts.turns is not None:
            counted = local.count_turns([("system" if role == "developer" else role, text) for role, text in parts.turns])
            if counted is not None:
                return Count(counted, True, f"{model}'s tokenizer and template")
        tokens = sum(local.count_texts([*parts.texts, *framing.write_tools(conversation.tools)]))
        tokens += framing.frame(parts.messages, 0) + framing.CALL * parts.calls + framing.TOOL * len(conversation.tools)
        return Count(tokens + _count_others(parts, model), False, f"{model}'s tokenizer, framing estimated")

    def _local_of(self, model: str) -> Local | None:
        """A local model's tokenizer, read when first asked for; None while there is none on the disk. A student's is its base's."""
        student = parse_name(model) if model.startswith(PREFIX) else None
        model = model if student is None else student.base
        if model not in self._local and self._weights is not None and "/" not in model and model not in ("", ".", ".."):
            directory = self._weights / model
            if (directory / TOKENIZER).is_file():
                self._local[model] = Local(directory)
        return self._local.get(model)


def _count_as_openai(conversation: Conversation, parts: Outline, deployment: Deployment, encoding: str) -> Count:
    def count(texts: Sequence[str]) -> int:
        return sum(count_texts(texts, encoding))

    model = deployment.upstream_model
    tokens = count([*parts.texts, *parts.names]) + framing.frame(parts.messages, len(parts.names)) + framing.CALL * parts.calls
    tokens += framing.count_functions(conversation.tools, encoding, count) + _count_others(parts, model)
    plain = parts.turns is not None and not conversation.tools and conversation.format is None
    known = framing.is_exact(model) and deployment.provider in _OPENAI
    return Count(tokens, plain and known, encoding if plain and known else f"{encoding}, framing estimated")


def _count_others(parts: Outline, model: str) -> int:
    """What is not text."""
    pictures = sum(count_picture(image, model) for image in parts.images)
    return pictures + sum(estimate_text(file.text) if file.text is not None else count_file(file, model) for file in parts.files)


def _is_claude(model: str, provider: str) -> bool:
    return provider == "anthropic" or "claude" in model.lower()


def _ascii_per_token(model: str, provider: str) -> float:
    return CLAUDE_ASCII_PER_TOKEN if _is_claude(model, provider) else ASCII_PER_TOKEN
