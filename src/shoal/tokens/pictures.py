"""Tokens of a picture, by the documented rule of whoever looks at it. Its size is read from the head of its data, never fetched.

OpenAI: https://platform.openai.com/docs/guides/images-vision#calculating-costs (tiles or patches, by model).
Claude: https://docs.claude.com/en/docs/build-with-claude/vision#calculate-image-costs (pixels / 750, after scaling down).
Gemini: https://ai.google.dev/gemini-api/docs/image-understanding#token_counts (258 for a tile of 768 pixels).
"""

import base64
import binascii
import math
import re
from typing import NamedTuple

from shoal.core.conversation import Image

Size = tuple[int, int]
UNKNOWN: Size = (1024, 1024)
"""What a picture is taken to be that lies elsewhere, or whose format is not known here."""
_HEAD_CHARACTERS = 88_000  # of base64; a photograph may carry a preview before its size is told


class Tiles(NamedTuple):
    """OpenAI's older rule: so much for a picture, and for each tile of 512 pixels after scaling to 2048 and to 768 on the short side."""

    whole: int
    tile: int

    def tokens_of(self, size: Size, detail: str | None) -> int:
        """Tokens of a picture of this size."""
        if detail == "low":
            return self.whole
        width, height = _within(size, 2048)
        scale = min(1.0, 768 / min(width, height))
        return self.whole + self.tile * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


class Patches(NamedTuple):
    """OpenAI's newer rule: patches of 32 pixels, 1,536 at the most, times a factor."""

    factor: float

    def tokens_of(self, size: Size, detail: str | None) -> int:
        """Tokens of a picture of this size."""
        patches = math.ceil(size[0] / 32) * math.ceil(size[1] / 32)
        return math.ceil(min(patches, 1536) * self.factor)


class Pixels(NamedTuple):
    """Claude's rule."""

    pixels_per_token: int

    def tokens_of(self, size: Size, detail: str | None) -> int:
        """Tokens of a picture of this size, which is scaled down to 1,568 pixels on the long side and about 1,600 tokens."""
        width, height = _within(size, 1568)
        return min(1600, math.ceil(width * height / self.pixels_per_token))


class Squares(NamedTuple):
    """Gemini's rule."""

    side: int
    tokens: int

    def tokens_of(self, size: Size, detail: str | None) -> int:
        """Tokens of a picture of this size; one of up to 384 pixels is one square."""
        if max(size) <= self.side // 2:
            return self.tokens
        return self.tokens * math.ceil(size[0] / self.side) * math.ceil(size[1] / self.side)


# the first that the model's name contains
RULES: tuple[tuple[str, Tiles | Patches | Pixels | Squares], ...] = (
    ("claude", Pixels(750)),
    ("gemini", Squares(768, 258)),
    ("gpt-5-mini", Patches(1.62)),
    ("gpt-5-nano", Patches(2.46)),
    ("gpt-4.1-mini", Patches(1.62)),
    ("gpt-4.1-nano", Patches(2.46)),
    ("o4-mini", Patches(1.72)),
    ("gpt-4o-mini", Tiles(2833, 5667)),
    ("gpt-5", Tiles(70, 140)),
    ("computer-use-preview", Tiles(65, 129)),
    ("o1", Tiles(75, 150)),
    ("o3", Tiles(75, 150)),
    ("", Tiles(85, 170)),  # gpt-4o, gpt-4.1, gpt-4.5; and whoever documents nothing
)


def count_picture(image: Image, model: str) -> int:
    """About how many tokens a picture has for a model."""
    name = model.lower()
    rule = next(rule for part, rule in RULES if part in name)
    return rule.tokens_of(_size_of(image), image.detail)


def _within(size: Size, side: int) -> tuple[float, float]:
    scale = min(1.0, side / max(size))
    return size[0] * scale, size[1] * scale


def _size_of(image: Image) -> Size:
    data = image.data or ""
    if not data and (image.url or "").startswith("data:"):
        data = (image.url or "").partition(",")[2]
    head = data[:_HEAD_CHARACTERS]
    try:
        return measure(base64.b64decode(head[: len(head) // 4 * 4])) or UNKNOWN
    except (binascii.Error, ValueError):
        return UNKNOWN


def measure(data: bytes) -> Size | None:
    """Width and height in pixels from the beginning of a PNG, GIF, WebP or JPEG; None for anything else, or nonsense."""
    size: Size | None = None
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        size = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        size = _measure_webp(data)
    elif data.startswith(b"\xff\xd8"):
        size = _measure_jpeg(data)
    return size if size and min(size) > 0 and max(size) < 2**17 else None


def _measure_webp(data: bytes) -> Size | None:
    """https://developers.google.com/speed/webp/docs/riff_container: lossy, lossless, extended."""
    kind = data[12:16]
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


_FRAME = re.compile(rb"[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]")


def _measure_jpeg(data: bytes) -> Size | None:
    """Segments one after the other until one that begins a frame (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if _FRAME.match(data, at + 1):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None
