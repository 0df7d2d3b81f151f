"""What of a conversation costs tokens: its texts, its turns, and what is not text."""

from collections.abc import Iterable

import msgspec

from shoal.core.conversation import Conversation, File, Image, Part, Reasoning, Refusal, Text, ToolCall, ToolResult


class Outline(msgspec.Struct, frozen=True):
    """A conversation taken apart. `texts` are those of the messages; `turns` holds (role, text) of each message where all is plain text.

    `names` are those given to speakers. Tools stand apart in the conversation: how they are written down differs by model.
    """

    texts: tuple[str, ...]
    messages: int
    names: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    files: tuple[File, ...] = ()
    calls: int = 0
    turns: tuple[tuple[str, str], ...] | None = None

    @property
    def size(self) -> int:
        """Characters in all texts."""
        return sum(map(len, self.texts))


def outline(conversation: Conversation) -> Outline:
    """The outline of a conversation's messages. Thought that only its maker can read is left out: nobody else can count it."""
    texts: list[str] = []
    images: list[Image] = []
    files: list[File] = []
    calls = 0

    def take(parts: Iterable[Part]) -> None:
        nonlocal calls
        for part in parts:
            match part:
                case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
                    texts.append(text)
                case Image():
                    images.append(part)
                case File():
                    files.append(part)
                case ToolCall(name=name, arguments=arguments):
                    texts.extend((name, arguments))
                    calls += 1
                case ToolResult(parts=inner):
                    take(inner)
                    calls += 1

    for message in conversation.messages:
        take(message.parts)
    plain = all(isinstance(part, Text) for message in conversation.messages for part in message.parts)
    names = tuple(message.name for message in conversation.messages if message.name)
    turns = tuple(
        (message.role, "\n".join(part.text for part in message.parts if isinstance(part, Text))) for message in conversation.messages
    )
    return Outline(tuple(texts), len(conversation.messages), names, tuple(images), tuple(files), calls, turns if plain else None)
