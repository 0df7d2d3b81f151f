"""Recordings of real traffic in files: vcrpy's YAML (also with bodies parsed), Ruby VCR's, and `*.chunks.txt`, one event's data a line.

What a recording is of is told by its address: the provider by the host, among the hosts of all rows, the dialect by the path's end.
"""

import base64
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from shoal.providers.row import Row, read_rows

TAILS = {
    r"/chat/completions": "openai_chat",
    r"(?<!/chat)/completions": "openai_chat",
    r"(?<!/v2)(?<!/embed)/embeddings": "openai_chat",
    r"/responses": "openai_responses",
    r"/messages": "anthropic",
    r"/models/[^/]+:(generateContent|streamGenerateContent|embedContent|batchEmbedContents|predict)": "gemini",
    r"/model/[^/]+/(converse|converse-stream|invoke)": "bedrock",
    r"/v2/(chat|embed)": "cohere",
}
EVENT_NAMES = {"message_start": "anthropic", "response.created": "openai_responses", "message-start": "cohere"}
PROVIDER_OF_PREFIX = {"google": "gemini", "fireworksai": "fireworks", "togetherai": "together", "moonshotai": "moonshot"}


class Recorded(NamedTuple):
    """One exchange. `question` is the JSON asked, None where it was not kept; `model` the upstream's name for the model, "" likewise."""

    name: str
    provider: str
    dialect: str
    path: str
    model: str
    question: Any
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def streamed(self) -> bool:
        """Whether the answer came as a stream."""
        return "stream" in self.headers.get("content-type", "")

    @property
    def broken(self) -> bool:
        """Whether an error came in a successful answer."""
        if self.status != 200 or "amazon" in self.headers.get("content-type", ""):
            return False
        if self.streamed:
            return re.search(rb'(^|\n)(event: error|data: \{"error"|data: .*"error":\{)', self.body) is not None
        told = json.loads(self.body)
        choices = told.get("choices") or ()
        return bool(told.get("error") or (told.get("base_resp") or {}).get("status_code") or any(one.get("error") for one in choices))


def read(file: Path) -> list[Recorded]:
    """The exchanges of a file with a model's endpoint, in order."""
    if file.name.endswith(".chunks.txt"):
        return _read_chunks(file)
    import yaml

    class Loader(yaml.SafeLoader):
        """Understands what Ruby writes, too."""

    Loader.add_constructor("!binary", lambda loader, node: base64.b64decode(node.value))
    Loader.add_multi_constructor("!ruby/", lambda loader, suffix, node: loader.construct_scalar(node))
    text = yaml.load(file.read_text("utf-8"), Loader=Loader)
    exchanges = text.get("interactions") or text.get("http_interactions") or []
    found = (_read_exchange(one, f"{file.stem}-{place}") for place, one in enumerate(exchanges))
    return [one for one in found if one is not None]


def _read_chunks(file: Path) -> list[Recorded]:
    lines = [line.removeprefix("data: ") for line in file.read_text("utf-8").splitlines() if line.strip()]
    first = json.loads(lines[0])
    provider = file.name.partition("__")[0].removeprefix("amazon-")
    name = file.name.removesuffix(".chunks.txt")
    if "messageStart" in first:
        frames = b"".join(_frame(event, payload) for line in lines for event, payload in json.loads(line).items())
        headers = {"content-type": "application/vnd.amazon.eventstream"}
        return [Recorded(name, "bedrock", "bedrock", "", "some-model", None, 200, headers, frames)]
    dialect = EVENT_NAMES.get(first.get("type", ""), "gemini" if first.keys() & {"candidates", "promptFeedback"} else "openai_chat")
    body = "".join(f"data: {line}\n\n" for line in lines) + ("data: [DONE]\n\n" if dialect == "openai_chat" else "")
    model = str(first.get("model") or first.get("modelVersion") or first.get("message", {}).get("model") or "some-model")
    headers = {"content-type": "text/event-stream"}
    return [Recorded(name, PROVIDER_OF_PREFIX.get(provider, provider), dialect, "", model, None, 200, headers, body.encode())]


def _read_exchange(one: Any, name: str) -> Recorded | None:
    asked, told = one["request"], one["response"]
    if str(asked.get("method")).upper() != "POST":
        return None
    address = urlsplit(str(asked["uri"]))
    path = unquote(address.path)
    dialect = next((dialect for tail, dialect in TAILS.items() if re.search(tail + r"\Z", path)), None)
    provider = _provider_of(address.netloc)
    if dialect is None or provider is None:
        return None
    question = asked["parsed_body"] if "parsed_body" in asked else json.loads(_bytes(asked.get("body")) or b"null")
    headers = {key.lower(): str(value[0] if isinstance(value, list) else value) for key, value in (told.get("headers") or {}).items()}
    parsed = told.get("parsed_body")
    body = _bytes(told.get("body")) if parsed is None else json.dumps(parsed).encode()
    in_path = re.search(r"/models?/([^/:]+(?::\d+)?)[:/]", path)
    model = str((question or {}).get("model") or (in_path.group(1) if in_path else ""))
    status = int(told["status"]["code"] if isinstance(told["status"], dict) else told["status"])
    return Recorded(name, provider, dialect, path, model, question, status, headers, body)


def _bytes(body: Any) -> bytes:
    match body:
        case None:
            return b""
        case bytes():
            return body
        case str():
            return body.encode()
        case {"type": _, "content": content}:  # what other recorders of HTTP write
            return content.encode() if isinstance(content, str) else json.dumps(content).encode()
        case {"base64_string": text}:
            return base64.b64decode(text)
        case {"string": text}:
            return _bytes(text)
    return json.dumps(body).encode()


def _provider_of(host: str) -> str | None:
    return next((name for name, row in read_rows().items() if not row.local and re.fullmatch(_host_of(row), host)), None)


def _host_of(row: Row) -> str:
    """A pattern of the hosts at which a provider is reached."""
    url = row.base_url
    for name, value in row.values.items():
        if name != "region" and value.default is not None:
            url = url.replace("{" + name + "}", value.default)
    hosts = [urlsplit(url).netloc, *(host for value in row.values.values() for host in value.by_region.values())]
    return "|".join(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(host)) for host in hosts)


def _frame(event: str, payload: Any) -> bytes:
    """A frame of Amazon's binary event stream."""
    head = b"".join(
        len(name).to_bytes() + name.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        for name, value in ((":event-type", event), (":content-type", "application/json"), (":message-type", "event"))
    )
    data = json.dumps(payload).encode()
    start = struct.pack(">II", len(head) + len(data) + 16, len(head))
    start += struct.pack(">I", zlib.crc32(start))
    return start + head + data + struct.pack(">I", zlib.crc32(start + head + data))


def frames(body: bytes) -> list[tuple[str, Any]]:
    """Names and values of the frames of Amazon's binary event stream."""
    out = []
    while body:
        total, head_bytes = struct.unpack(">II", body[:8])
        head, data = body[12 : 12 + head_bytes], body[12 + head_bytes : total - 4]
        kind = re.search(rb":(?:event|exception)-type\x07(..)", head, re.DOTALL)
        assert kind is not None
        start = kind.end()
        name = head[start : start + int.from_bytes(kind.group(1), "big")].decode()
        out.append((name, json.loads(data)))
        body = body[total:]
    return out
