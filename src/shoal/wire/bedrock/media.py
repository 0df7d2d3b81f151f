"""Pictures, documents, sound and film as Bedrock takes them: bytes in the request, or an object in S3; never another address.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from base64 import b64encode
from typing import Any

from shoal.core.conversation import File, Image
from shoal.core.errors import Fault
from shoal.wire.bedrock.names import Titles

Block = dict[str, Any]

IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_SOUNDS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/mp4": "mp4",
    "audio/ogg": "ogg",
    "audio/x-matroska": "mka",
    "audio/x-aac": "x-aac",
    "audio/m4a": "m4a",
    "audio/x-m4a": "m4a",
    "audio/pcm": "pcm",
    "audio/webm": "webm",
}
_FILMS = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_KINDS = (("document", _DOCUMENTS), ("audio", _SOUNDS), ("video", _FILMS), ("image", IMAGES))
_BY_ENDING = {format: (kind, format) for kind, formats in reversed(_KINDS) for format in formats.values()} | {
    "jpg": ("image", "jpeg"),
    "htm": ("document", "html"),
    "3gp": ("video", "three_gp"),
}


def write_image(image: Image) -> Block:
    """An image block. Errors: Fault unsupported_parameter for what is neither bytes nor in S3, or of a format Bedrock does not know."""
    format = IMAGES.get(_plain(image.media_type)) or _ending(image.url)[1]
    if format not in IMAGES.values():
        raise _refuse(f"Amazon Bedrock takes images as PNG, JPEG, GIF or WebP, not {image.media_type or 'of an unknown type'}.")
    return {"image": {"format": format, "source": _source(image.data, image.url, "an image")}}


def write_file(file: File, titles: Titles) -> Block:
    """A document, audio, video or image block, by its media type or the ending of its name. Errors: Fault unsupported_parameter."""
    if file.id is not None:
        raise _refuse("Amazon Bedrock keeps no files: send the file's bytes, or its address in S3, instead of an id.")
    kind, format = _kind(file)
    data = b64encode(file.text.encode()).decode() if file.text is not None else file.data
    source = _source(data, file.url, "a file")
    if kind == "document":
        return {"document": {"name": titles.take(file.name), "format": format, "source": source}}
    return {kind: {"format": format, "source": source}}


def _kind(file: File) -> tuple[str, str]:
    plain = _plain(file.media_type)
    for kind, formats in _KINDS:
        if plain in formats:
            return kind, formats[plain]
    kind, format = _ending(file.name) if "." in (file.name or "") else _ending(file.url)
    if format:
        return kind, format
    if file.text is not None or plain.startswith("text/"):
        return "document", "txt"
    raise _refuse(f"Amazon Bedrock does not take files of the type {file.media_type or 'that this one is (name its media type)'}.")


def _plain(media_type: str | None) -> str:
    return (media_type or "").partition(";")[0].strip().lower()


def _ending(name: str | None) -> tuple[str, str]:
    return _BY_ENDING.get((name or "").rpartition(".")[2].lower(), ("", ""))


def _source(data: str | None, url: str | None, what: str) -> Block:
    if data is not None:
        return {"bytes": data}
    if url is not None and url.startswith("s3://"):
        return {"s3Location": {"uri": url}}
    raise _refuse(f"Amazon Bedrock does not fetch {what} from a web address: send its bytes as a data: URL, or an s3:// address.")


def _refuse(text: str) -> Fault:
    return Fault("unsupported_parameter", text, param="messages")
