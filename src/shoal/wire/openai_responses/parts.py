"""Contents of messages and of tools' results: words, pictures, files. https://platform.openai.com/docs/api-reference/responses/create."""

import base64
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from shoal.core.chat import decode, within
from shoal.core.conversation import File, Image, Part, Refusal, Text
from shoal.core.errors import Fault
from shoal.wire.openai_responses import citations
from shoal.wire.openai_responses.checked import ABSENT, missing, wrong_value

Content = str | list[msgspec.Raw]


class _Type(msgspec.Struct):
    type: str


class _Words(msgspec.Struct):
    text: str
    annotations: list[msgspec.Raw] | None = None
    prompt_cache_breakpoint: msgspec.Raw = ABSENT


class _Refusal(msgspec.Struct):
    refusal: str


class _Image(msgspec.Struct):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: msgspec.Raw = ABSENT


class _File(msgspec.Struct):
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    prompt_cache_breakpoint: msgspec.Raw = ABSENT


class _Sound(msgspec.Struct):
    data: str
    format: str


class _Audio(msgspec.Struct):
    input_audio: _Sound


_type = msgspec.json.Decoder(_Type)
_words = msgspec.json.Decoder(_Words)
_refusal = msgspec.json.Decoder(_Refusal)
_image = msgspec.json.Decoder(_Image)
_file = msgspec.json.Decoder(_File)
_audio = msgspec.json.Decoder(_Audio)

_MEDIA_TYPES = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


def read(content: Content, place: str) -> tuple[Text | Refusal | Image | File, ...]:
    """A caller's content: a text, or parts. Errors: Fault, naming the part."""
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_read_part(raw, f"{place}[{index}]") for index, raw in enumerate(content))


def _read_part(raw: msgspec.Raw, place: str) -> Text | Refusal | Image | File:
    kind = decode(raw, _type, place).type
    if kind not in _READERS:
        raise wrong_value(within(place, "type"), kind, _READERS)
    return _READERS[kind](raw, place)


def _read_words(raw: msgspec.Raw, place: str) -> Text:
    part = decode(raw, _words, place)
    return Text(part.text, _cache(part.prompt_cache_breakpoint), tuple(citations.read(one) for one in part.annotations or ()))


def _read_refusal(raw: msgspec.Raw, place: str) -> Refusal:
    return Refusal(decode(raw, _refusal, place).refusal)


def _read_image(raw: msgspec.Raw, place: str) -> Image | File:
    part = decode(raw, _image, place)
    cache = _cache(part.prompt_cache_breakpoint)
    if part.image_url is None:
        if part.file_id is None:
            raise missing(within(place, "image_url"))
        return File(id=part.file_id, cache=cache)
    media_type, data = _data_of(part.image_url, within(place, "image_url"))
    if data is not None:
        return Image(data=data, media_type=media_type, detail=part.detail, cache=cache)
    return Image(url=part.image_url, detail=part.detail, cache=cache)


def _read_file(raw: msgspec.Raw, place: str) -> File:
    part = decode(raw, _file, place)
    name, cache = part.filename, _cache(part.prompt_cache_breakpoint)
    if part.file_data is not None:
        media_type, data = _data_of(part.file_data, within(place, "file_data"))
        known = media_type or _MEDIA_TYPES.get((name or "").rpartition(".")[2].lower(), "application/pdf")
        return File(data=data or part.file_data, media_type=known, name=name, cache=cache)
    if part.file_url is not None:
        return File(url=part.file_url, name=name, cache=cache)
    if part.file_id is None:
        raise missing(within(place, "file_data"))
    return File(id=part.file_id, name=name, cache=cache)


def _read_audio(raw: msgspec.Raw, place: str) -> File:
    sound = decode(raw, _audio, place).input_audio
    return File(data=sound.data, media_type=f"audio/{sound.format}")


_READERS: dict[str, Callable[[msgspec.Raw, str], Text | Refusal | Image | File]] = {
    "input_text": _read_words,
    "output_text": _read_words,
    "refusal": _read_refusal,
    "input_image": _read_image,
    "input_file": _read_file,
    "input_audio": _read_audio,
}


def _cache(breakpoint: msgspec.Raw) -> str | None:
    return None if bytes(breakpoint) == b"null" else "5m"


def _data_of(url: str, place: str) -> tuple[str | None, str | None]:
    """The media type and base64 of a data URL; None, None of any other."""
    if not url.startswith("data:"):
        return None, None
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        raise Fault("invalid_value", f"Invalid value for '{place}': a data URL must be of the form data:TYPE;base64,DATA.", param=place)
    return head.removesuffix(";base64").partition(";")[0] or None, data


def write(parts: Iterable[Part], place: str) -> str | list[dict[str, Any]]:
    """Content for an upstream: a single text as it is, otherwise parts. Errors: Fault for what the dialect cannot say."""
    said = tuple(parts)
    if len(said) == 1 and isinstance(said[0], Text):
        return said[0].text
    return [_write_part(part, place) for part in said]


def _write_part(part: Part, place: str) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"type": "input_text", "text": text}
        case Image():
            url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data or ''}"
            return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        case File():
            return _write_file(part, place)
        case _:
            raise Fault("unsupported_parameter", f"A {type(part).__name__} cannot stand where this message has it.", param=place)


def _write_file(file: File, place: str) -> dict[str, Any]:
    kind = (file.media_type or "").partition("/")[0]
    if kind in ("audio", "video"):
        text = f"The model is reached through OpenAI's Responses API, which takes no {kind}: send text, pictures or documents."
        raise Fault("unsupported_parameter", text, param=place)
    if file.id is not None:
        return {"type": "input_file", "file_id": file.id}
    if kind == "image":
        image = Image(file.url, file.data, file.media_type)
        return _write_part(image, place)
    if file.url is not None:
        return {"type": "input_file", "file_url": file.url}
    media_type, data = file.media_type, file.data
    if data is None:
        media_type, data = media_type or "text/plain", base64.b64encode((file.text or "").encode()).decode()
    media_type = media_type or "application/pdf"
    name = file.name or f"document.{_EXTENSIONS.get(media_type, 'pdf')}"
    return {"type": "input_file", "filename": name, "file_data": f"data:{media_type};base64,{data}"}


_EXTENSIONS = {media_type: extension for extension, media_type in _MEDIA_TYPES.items()}


def write_said(parts: Iterable[Text | Refusal]) -> str | list[dict[str, Any]]:
    """What the model said before, as content of its message."""
    said = tuple(parts)
    if len(said) == 1 and isinstance(said[0], Text):
        return said[0].text
    return [
        {"type": "refusal", "refusal": part.text}
        if isinstance(part, Refusal)
        else {"type": "output_text", "text": part.text, "annotations": []}
        for part in said
    ]
