"""Estimates: near what OpenAI's tokenizer counts, monotonous, quick; pictures and files by their documented examples."""

import base64
import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.conversation import File, Image
from shoal.tokens.encodings import count_texts
from shoal.tokens.estimate import estimate, estimate_text
from shoal.tokens.files import count_file
from shoal.tokens.pictures import count_picture, measure

SAMPLES = {
    "english": "The gateway turns a question into the words of whichever provider is asked, and its answer back again. Nothing is lost.",
    "german": "Das Tor übersetzt jede Frage in die Sprache des Anbieters, der gefragt wird, und seine Antwort wieder zurück.",
    "russian": "Шлюз переводит вопрос на язык того поставщика, которого спрашивают, и возвращает его ответ обратно.",
    "chinese": "网关把问题翻译成被询问的提供商的语言，然后把答案翻译回来。什么都不会丢失。",
    "japanese": "ゲートウェイは質問を相手の言葉に翻訳し、答えを元の言葉に戻します。何も失われません。",
    "hindi": "द्वार प्रश्न को उस प्रदाता की भाषा में बदलता है जिससे पूछा जाता है।",
    "arabic": "تترجم البوابة السؤال إلى لغة المزود الذي يُسأل ثم تعيد الجواب.",
    "code": "def find(self, digest: bytes) -> Principal | None:\n    return self._holders.get(digest)\n" * 3,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_an_estimate_is_near_the_count(name: str) -> None:
    text = SAMPLES[name] * 4
    (counted,) = count_texts([text], "o200k_base")
    assert 0.6 * counted <= estimate_text(text) <= 2.5 * counted


@pytest.mark.parametrize("name", SAMPLES)
def test_a_whole_body_is_estimated_on_the_high_side(name: str) -> None:
    text = SAMPLES[name] * 4
    (counted,) = count_texts([text], "o200k_base")
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    for escaped in (True, False):
        assert counted <= estimate(json.dumps(body, ensure_ascii=escaped).encode()) <= 9 * counted + 20


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_is_not_fewer_tokens(one: str, two: str) -> None:
    assert max(estimate_text(one), estimate_text(two)) <= estimate_text(one + two) <= estimate_text(one) + estimate_text(two)


@given(st.binary(max_size=300))
def test_any_bytes_have_an_estimate(body: bytes) -> None:
    assert 1 <= estimate(body) <= len(body) + 1


def test_a_picture_in_a_body_is_not_text() -> None:
    data = base64.b64encode(bytes(2_000_000)).decode()
    body = json.dumps({"messages": [{"role": "user", "content": [{"image_url": {"url": f"data:image/png;base64,{data}"}}]}]})
    assert 1600 <= estimate(body.encode()) < 1700
    assert estimate(json.dumps({"content": "word " * 10_000}).encode()) > 10_000


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def picture(width: int, height: int, detail: str | None = None) -> Image:
    """A picture of that size."""
    return Image(data=base64.b64encode(png(width, height)).decode(), media_type="image/png", detail=detail)


@pytest.mark.parametrize(
    ("model", "image", "tokens"),
    [
        ("gpt-4o", picture(1024, 1024), 765),
        ("gpt-4o", picture(2048, 4096, "high"), 1105),
        ("gpt-4o", picture(4096, 8192, "low"), 85),
        ("gpt-5", picture(1024, 1024), 70 + 4 * 140),
        ("gpt-4o-mini", picture(512, 512), 2833 + 5667),
        ("gpt-4.1-mini", picture(1024, 1024), 1659),  # 1024 patches of 1.62
        ("claude-sonnet-4-5", picture(200, 200), 54),
        ("claude-sonnet-4-5", picture(1000, 1000), 1334),
        ("claude-sonnet-4-5", picture(8000, 8000), 1600),
        ("gemini-2.5-flash", picture(384, 384), 258),
        ("gemini-2.5-flash", picture(960, 540), 2 * 258),
        ("gpt-4o", Image(url="https://example.com/cat.png"), 765),
        ("gpt-4o", Image(data="%%%"), 765),
        ("gpt-4o", Image(url="data:image/png;base64," + (picture(512, 512).data or "")), 255),
    ],
)
def test_documented_examples_of_pictures(model: str, image: Image, tokens: int) -> None:
    assert count_picture(image, model) == tokens


JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xe1\x00\x02\xff\xc2\x00\x11\x08" + struct.pack(">HH", 480, 640) + b"\x03"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(3, 5), (3, 5)),
        (b"GIF89a" + struct.pack("<HH", 320, 200), (320, 200)),
        (JPEG, (640, 480)),
        (b"RIFF....WEBPVP8X" + bytes(8) + b"\x7f\x02\x00\xdf\x01\x00", (640, 480)),
        (b"RIFF....WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480), (640, 480)),
        (b"RIFF....WEBPVP8L" + bytes(4) + b"\x2f" + struct.pack("<I", 639 | 479 << 14) + bytes(9), (640, 480)),
        (png(0, 5), None),
        (b"BM", None),
        (b"", None),
    ],
)
def test_sizes_are_read_from_heads(data: bytes, size: tuple[int, int] | None) -> None:
    assert measure(data) == size


@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF0000WEBPVP8 "]))
def test_any_head_is_survived(data: bytes, start: bytes) -> None:
    size = measure(start + data)
    assert size is None or min(size) > 0


def test_files_by_kind_and_size() -> None:
    data = "A" * 400_000  # 300,000 bytes
    assert count_file(File(data=data, media_type="application/pdf"), "claude-opus-4-5") == 6 * 2000
    assert count_file(File(data=data, media_type="application/pdf"), "gemini-2.5-pro") == 6 * 258
    assert count_file(File(data=data, media_type="audio/mp3"), "gemini-2.5-pro") == 19 * 32
    assert count_file(File(data=data, media_type="video/mp4"), "gemini-2.5-pro") == 3 * 300
    assert count_file(File(id="file-1"), "gpt-4o") == 2000
