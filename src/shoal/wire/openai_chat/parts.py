"""Content parts of a caller's messages (https://platform.openai.com/docs/api-reference/chat/create), to the nouns of a conversation.

Each kind of part is a struct that checks itself; what JSON's types cannot check (URLs, base64) is checked here, and named by its path.
"""

import binascii
from typing import Any, Literal

import msgspec

from shoal.core.conversation import File, Image, Part, Reasoning, Refusal, Text
from shoal.core.errors import Fault


class CacheControl(msgspec.Struct):
    """A prompt-cache breakpoint, an extension by those who forward to Anthropic."""

    type: Literal["ephemeral"] = "ephemeral"
    ttl: Literal["5m", "1h"] = "5m"


class _Breakpoint(msgspec.Struct):
    """OpenAI's own (`prompt_cache_breakpoint`)."""

    mode: str = "explicit"


class _ImageUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class _Url(msgspec.Struct):
    url: str


class _Audio(msgspec.Struct):
    data: str
    format: str


class _File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    """Words."""

    text: str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """A picture."""

    image_url: _ImageUrl
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class AudioPart(msgspec.Struct, tag_field="type", tag="input_audio"):
    """Sound."""

    input_audio: _Audio
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class VideoPart(msgspec.Struct, tag_field="type", tag="video_url"):
    """A film, an extension (https://openrouter.ai/docs/features/multimodal/videos)."""

    video_url: _Url
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class FilePart(msgspec.Struct, tag_field="type", tag="file"):
    """A document."""

    file: _File
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    """A refusal in an earlier turn."""

    refusal: str


class ThinkingPart(msgspec.Struct, tag_field="type", tag="thinking"):
    """Thought in an earlier turn, as Mistral writes it (https://docs.mistral.ai/studio-api/conversations/reasoning)."""

    thinking: str | list[TextPart]
    signature: str | None = None


AnyPart = TextPart | ImagePart | AudioPart | VideoPart | FilePart | RefusalPart | ThinkingPart
Content = str | list[AnyPart] | None

_AUDIO = {"mp3": "audio/mpeg", "wav": "audio/wav"}
_FILES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "html": "text/html"}


def read(part: AnyPart, at: str) -> Part:
    """One part, found at the path `at`. Errors: Fault naming what is wrong with it."""
    match part:
        case TextPart():
            return Text(part.text, _cache_of(part))
        case ImagePart(image_url=image):
            url, data, media_type = _place(image.url, f"{at}.image_url")
            if media_type is not None and not media_type.startswith("image/"):
                raise wrong(f"{at}.image_url", f"the data URL holds {media_type}, not a picture")
            return Image(url=url, data=data, media_type=media_type, detail=image.detail, cache=_cache_of(part))
        case AudioPart(input_audio=audio):
            _check_base64(audio.data, f"{at}.input_audio.data")
            media_type = _AUDIO.get(audio.format, f"audio/{audio.format}")
            return File(data=audio.data, media_type=media_type, cache=_cache_of(part))
        case VideoPart(video_url=video):
            url, data, media_type = _place(video.url, f"{at}.video_url")
            return File(url=url, data=data, media_type=media_type or "video/mp4", cache=_cache_of(part))
        case FilePart():
            return _read_file(part, f"{at}.file")
        case RefusalPart():
            return Refusal(part.refusal)
        case ThinkingPart(thinking=thinking):
            text = thinking if isinstance(thinking, str) else "".join(one.text for one in thinking)
            return Reasoning(text, part.signature)


def cache_of(control: CacheControl | None) -> str | None:
    """The lifetime of a prompt-cache breakpoint."""
    return None if control is None else control.ttl


def _cache_of(part: TextPart | ImagePart | AudioPart | VideoPart | FilePart) -> str | None:
    """The same of a part, which may say it in OpenAI's own way, too."""
    if part.cache_control is None and part.prompt_cache_breakpoint is not None:
        return CacheControl().ttl
    return cache_of(part.cache_control)


def wrong(param: str, what: str) -> Fault:
    """A value that cannot be used."""
    return Fault("invalid_value", f"Invalid value for '{param}': {what}.", param=param)


def _read_file(part: FilePart, at: str) -> File:
    file, cache = part.file, _cache_of(part)
    if file.file_id is not None:
        return File(id=file.file_id, name=file.filename, cache=cache)
    if file.file_data is None:
        raise Fault("missing_parameter", f"Missing required parameter: '{at}.file_data' (or '{at}.file_id').", param=f"{at}.file_data")
    suffix = (file.filename or "").rpartition(".")[2].lower()
    if file.file_data.startswith(("http://", "https://", "data:")):
        url, data, media_type = _place(file.file_data, f"{at}.file_data")
        return File(url=url, data=data, media_type=media_type or _FILES.get(suffix), name=file.filename, cache=cache)
    _check_base64(file.file_data, f"{at}.file_data")
    return File(data=file.file_data, media_type=_FILES.get(suffix, "application/pdf"), name=file.filename, cache=cache)


def _place(url: str, at: str) -> tuple[str | None, str | None, str | None]:
    """A URL as itself, or as the data and the media type that a `data:` URL (RFC 2397) holds."""
    if url.startswith(("http://", "https://", "gs://", "s3://")):
        return url, None, None
    if not url.startswith("data:"):
        raise wrong(at, "expected a URL that begins with https://, http:// or data:")
    head, comma, data = url[5:].partition(",")
    media_type, _, parameters = head.partition(";")
    if not comma or not media_type or parameters.rpartition(";")[2] != "base64":
        raise wrong(at, "a data URL must look like data:MEDIA/TYPE;base64,DATA")
    _check_base64(data, at)
    return None, data, media_type


def _check_base64(data: str, at: str) -> None:
    try:
        whole = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:  # what is not ASCII, too
        raise wrong(at, "the data is not valid base64") from None
    if not whole:
        raise wrong(at, "the data is empty")


def write(part: Part, cache_control: bool) -> dict[str, Any]:
    """A part of a user's message, for an upstream. Errors: Fault unsupported_parameter for what OpenAI's dialect has no words for."""
    out: dict[str, Any]
    match part:
        case Text():
            out = {"type": "text", "text": part.text}
        case Image():
            image = {"url": part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"}
            out = {"type": "image_url", "image_url": image | ({"detail": part.detail} if part.detail else {})}
        case File():
            out = _write_file(part)
        case _:
            raise Fault("unsupported_parameter", "This model takes text, pictures and files from a user, nothing else.", param="messages")
    if cache_control and part.cache is not None:
        out["cache_control"] = write_cache(part.cache)
    return out


def write_cache(cache: str) -> dict[str, str]:
    """A prompt-cache breakpoint; its usual lifetime needs no word."""
    return {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}


def _write_file(file: File) -> dict[str, Any]:
    kind = file.media_type or ""
    if file.text is not None:
        return {"type": "text", "text": file.text}
    if kind.startswith("audio/") and file.data is not None:
        names = {media: name for name, media in _AUDIO.items()}
        return {"type": "input_audio", "input_audio": {"data": file.data, "format": names.get(kind, kind.removeprefix("audio/"))}}
    if kind.startswith("video/") and (file.url or file.data):
        return {"type": "video_url", "video_url": {"url": file.url or f"data:{kind};base64,{file.data}"}}
    name = {"filename": file.name} if file.name else {}
    if file.id is not None:
        return {"type": "file", "file": {"file_id": file.id}}
    if file.data is not None:
        data = {"file_data": f"data:{kind or 'application/pdf'};base64,{file.data}"}
        return {"type": "file", "file": (name or {"filename": "document.pdf"}) | data}
    return {"type": "file", "file": name | {"file_data": file.url}}
