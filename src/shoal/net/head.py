"""A request's head: its size, its target, and the same head without what is not done here."""


def head_size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes of the target and of header lines: name, colon, value and line end."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def origin_form(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a target in absolute form, `http://host/path` (RFC 9112, 3.2.2); other targets are paths that do not exist."""
    scheme, mark, rest = url.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return url, b""
    _, slash, target = rest.partition(b"/")
    path, _, query = (slash + target).partition(b"?")
    return path or b"/", query


def without_upgrade(method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The same head without the wish to speak another protocol; `headers` have lower-case names."""
    lines = [b"%b %b HTTP/%b\r\n" % (method, url, version.encode())]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(token for token in value.split(b",") if token.strip().lower() in (b"close", b"keep-alive"))
        if name not in (b"upgrade", b"http2-settings"):
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines) + b"\r\n"
