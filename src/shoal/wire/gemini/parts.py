"""Parts of a turn as Google writes them, whoever's turn it is. See https://ai.google.dev/api/caching#Part."""

from typing import Any

import msgspec

from shoal.core.conversation import File, Image, ToolCall

Json = dict[str, Any]

_TYPES = {
    "avif": "image/avif", "gif": "image/gif", "heic": "image/heic", "heif": "image/heif", "jpeg": "image/jpeg", "jpg": "image/jpeg",
    "png": "image/png", "webp": "image/webp",
    "pdf": "application/pdf", "json": "application/json", "txt": "text/plain", "md": "text/md", "html": "text/html", "htm": "text/html",
    "css": "text/css", "csv": "text/csv", "xml": "text/xml", "rtf": "text/rtf", "py": "text/x-python", "js": "text/javascript",
    "aac": "audio/aac", "aiff": "audio/aiff", "flac": "audio/flac", "m4a": "audio/m4a", "mp3": "audio/mp3", "ogg": "audio/ogg",
    "wav": "audio/wav",
    "avi": "video/avi", "flv": "video/x-flv", "mov": "video/mov", "mp4": "video/mp4", "mpeg": "video/mpeg", "mpg": "video/mpg",
    "webm": "video/webm", "wmv": "video/wmv", "3gp": "video/3gpp",
}  # fmt: skip


def media(part: Image | File) -> Json:
    """A picture or file: `inlineData` where its bytes are here, `fileData` where it has an address, `text` where it is text."""
    if isinstance(part, File) and part.text is not None:
        return {"text": part.text}
    if part.data is not None:
        return {"inlineData": {"mimeType": _type(part) or "application/octet-stream", "data": part.data}}
    address = part.url if isinstance(part, Image) else part.url or part.id
    kind = _type(part)
    return {"fileData": {"mimeType": kind, "fileUri": address} if kind else {"fileUri": address}}


def _type(part: Image | File) -> str | None:
    if part.media_type:
        return part.media_type
    for name in (part.name if isinstance(part, File) else None, part.url):
        path = (name or "").partition("?")[0].partition("#")[0]
        kind = _TYPES.get(path.rpartition(".")[2].lower())
        if kind:
            return kind
    if part.data is None:
        return None
    return "image/png" if isinstance(part, Image) else "application/pdf"


def call(part: ToolCall) -> Json:
    """`functionCall`, with its id where it has one; arguments that are no JSON object are kept as the text they are."""
    inside: Json = {"id": part.id} if part.id else {}
    return {"functionCall": inside | {"name": part.name, "args": arguments(part.arguments)}}


def arguments(text: str) -> Json:
    """A call's arguments as the object that Google wants."""
    try:
        found = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        found = text
    return found if isinstance(found, dict) else {"arguments": found}


def medium(kind: str | None, data: str | None, address: str | None, name: str | None = None) -> Image | File:
    """The noun for `inlineData` or `fileData`: pictures are Images, all else Files."""
    if kind and kind.startswith("image/"):
        return Image(url=address, data=data, media_type=kind)
    return File(url=address, data=data, media_type=kind, name=name)
