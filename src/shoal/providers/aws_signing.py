"""AWS's requests signed (Signature Version 4), and where the credentials for it are found.

`sign` is pure: the time is an argument. What it does is AWS's published algorithm, checked against AWS's own test vectors; why it is not
botocore's is docs/decisions/0002-own-aws-signature.md.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from configparser import ConfigParser, Error
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(msgspec.Struct, frozen=True):
    """Who signs. `session_token` comes with credentials that end."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id!r}, ...)"


def sign(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    credentials: Credentials,
    region: str,
    service: str,
    now: float,
) -> list[tuple[str, str]]:
    """The headers to add to a request, `now` being seconds since 1970. All `headers` are signed, and `host`, which they need not name.

    `url` is signed as it will be sent: its path stays as it is percent-encoded.
    """
    parts = urlsplit(url)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    added = [("x-amz-date", stamp)]
    if credentials.session_token is not None:
        added.append(("x-amz-security-token", credentials.session_token))
    signed = _canonical_headers([("host", parts.netloc.rpartition("@")[2]), *headers, *added])
    names = ";".join(signed)
    request = "\n".join(
        (
            method.upper(),
            quote(parts.path or "/", safe="/-_.~"),  # every service but S3 encodes what is encoded already once more
            _canonical_query(parts.query),
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = b"AWS4" + credentials.secret_access_key.encode()
    for word in (*scope.split("/"), text):
        key = hmac.digest(key, word.encode(), "sha256")
    said = f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    return [*added, ("authorization", said)]


def _canonical_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By name, in order; spaces in a row are one, and the values of one name are joined. A caller's own `host` is the one that counts."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    if len(values["host"]) > 1:
        values["host"] = values["host"][1:]
    return {name: ",".join(values[name]) for name in sorted(values)}


def _canonical_query(query: str) -> str:
    pairs = (tuple(quote(word, safe="-_.~") for word in pair) for pair in parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def bearer_token(environ: Mapping[str, str]) -> str | None:
    """A Bedrock API key, which is sent as a bearer token and needs no signature.

    https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html
    """
    return environ.get("AWS_BEARER_TOKEN_BEDROCK") or None


def find_credentials(environ: Mapping[str, str], home: Path) -> Credentials | None:
    """Credentials from the environment, else from the shared files, of the profile that AWS_PROFILE names.

    Errors: ValueError, naming the file, for one that cannot be read. What only AWS's own tools can do (single sign-on, a process, the
    roles of a machine) they put into the environment: `aws configure export-credentials --format env`.
    https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    found = _credentials({name.lower(): value for name, value in environ.items()})
    if found is not None:
        return found
    for section in _profile(environ, home):
        if (found := _credentials(section)) is not None:
            return found
    return None


def _credentials(members: Mapping[str, str]) -> Credentials | None:
    id, secret = members.get("aws_access_key_id"), members.get("aws_secret_access_key")
    return Credentials(id, secret, members.get("aws_session_token") or None) if id and secret else None


def find_region(environ: Mapping[str, str], home: Path) -> str | None:
    """The region from the environment, else from the shared files. Errors: ValueError, naming the file."""
    named = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return named or next((section["region"] for section in _profile(environ, home) if section.get("region")), None)


def _profile(environ: Mapping[str, str], home: Path) -> list[dict[str, str]]:
    """The profile's members in the credentials file, and in the config file, where its section has another name."""
    profile = environ.get("AWS_PROFILE") or "default"
    places = (
        (environ.get("AWS_SHARED_CREDENTIALS_FILE"), "credentials", (profile,)),
        (environ.get("AWS_CONFIG_FILE"), "config", (f"profile {profile}", *((profile,) if profile == "default" else ()))),
    )
    found = []
    for named, usual, sections in places:
        path = Path(named.replace("~", str(home), 1)) if named else home / ".aws" / usual
        parser = ConfigParser(interpolation=None, strict=False, default_section="")
        try:
            parser.read(path, encoding="utf-8")
        except (Error, UnicodeDecodeError, OSError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
        found += [dict(parser[section]) for section in sections if parser.has_section(section)]
    return found
