"""Access tokens for Vertex: Google's Application Default Credentials, asked for when the first is needed, renewed before they expire.

See https://cloud.google.com/docs/authentication/application-default-credentials: a file that GOOGLE_APPLICATION_CREDENTIALS names, the one
that `gcloud auth application-default login` leaves, or the metadata server of the machine. Nothing is read before a token is asked for.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from shoal.core.errors import Fault
from shoal.net.client import Pool
from shoal.net.limits import Timeouts
from shoal.net.target import parse_target

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105, an address
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
_LIFETIME_S, _RENEW_S, _LEAST_S = 3600, 300.0, 30.0
"""An assertion is good for an hour; a token is renewed five minutes before its end, and used until shortly before it if that fails."""


class TokenRequest(msgspec.Struct, frozen=True):
    """What a token server is asked: a POST of `form`, or a GET where there is none."""

    url: str
    form: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


Fetch = Callable[[TokenRequest], Awaitable[tuple[int, bytes]]]
"""Status and body of the answer. Errors: Fault when there is none."""


class ServiceAccount(msgspec.Struct, frozen=True, tag="service_account"):
    """A service account's key file."""

    client_email: str
    private_key: str
    private_key_id: str | None = None
    token_uri: str = _TOKEN_URI

    def ask(self, now: float) -> TokenRequest:
        """A signed assertion for a token (RFC 7523; https://developers.google.com/identity/protocols/oauth2/service-account)."""
        head = {"alg": "RS256", "typ": "JWT"} | ({"kid": self.private_key_id} if self.private_key_id else {})
        issued = int(now)
        claims = {"iss": self.client_email, "scope": SCOPE, "aud": self.token_uri, "iat": issued, "exp": issued + _LIFETIME_S}
        text = _base64url(msgspec.json.encode(head)) + b"." + _base64url(msgspec.json.encode(claims))
        assertion = text + b"." + _base64url(_sign(self.private_key, text))
        return _posted(self.token_uri, grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer", assertion=assertion.decode())


class AuthorizedUser(msgspec.Struct, frozen=True, tag="authorized_user"):
    """A person's credentials, as gcloud keeps them."""

    client_id: str
    client_secret: str
    refresh_token: str

    def ask(self, now: float) -> TokenRequest:
        """The refresh token for a token (RFC 6749, 6)."""
        return _posted(
            _TOKEN_URI,
            grant_type="refresh_token",
            client_id=self.client_id,
            client_secret=self.client_secret,
            refresh_token=self.refresh_token,
        )


class MetadataServer(msgspec.Struct, frozen=True):
    """The machine's own account (https://cloud.google.com/compute/docs/access/authenticate-workloads)."""

    host: str = "metadata.google.internal"

    def ask(self, now: float) -> TokenRequest:
        """The metadata server answers whoever names its flavour."""
        return TokenRequest(f"http://{self.host}{_METADATA_PATH}", headers=(("metadata-flavor", "Google"),))


Credentials = ServiceAccount | AuthorizedUser | MetadataServer

_file: "msgspec.json.Decoder[ServiceAccount | AuthorizedUser]" = msgspec.json.Decoder(ServiceAccount | AuthorizedUser)


def find_credentials(environment: Mapping[str, str]) -> Credentials:
    """The credentials that this environment has. Errors: ValueError saying which file cannot be used, never what is in it."""
    named = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named:
        return read_credentials(Path(named).expanduser())
    folder = environment.get("CLOUDSDK_CONFIG")
    path = (
        Path(folder) if folder else Path(environment.get("HOME", "~")).expanduser() / ".config/gcloud"
    ) / "application_default_credentials.json"
    if path.is_file():
        return read_credentials(path)
    return MetadataServer(environment.get("GCE_METADATA_HOST") or MetadataServer().host)


def read_credentials(path: Path) -> Credentials:
    """A credentials file. Errors: ValueError."""
    try:
        return _file.decode(path.read_bytes())
    except OSError as error:
        raise ValueError(f"the Google credentials file {path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = f"the Google credentials file {path} is neither a service account's key nor an authorized user's credentials"
        raise ValueError(text) from None


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 0.0


_token = msgspec.json.Decoder(_Token)


class TokenSource:
    """Tokens of one account. `find` names its credentials when the first token is asked for; `now` is seconds since 1970."""

    def __init__(self, find: Callable[[], Credentials], fetch: Fetch, now: Callable[[], float] = time.time) -> None:
        self._find = find
        self._fetch = fetch
        self._now = now
        self._credentials: Credentials | None = None
        self._value = ""
        self._expires_at = 0.0
        self._renewal: asyncio.Task[None] | None = None

    async def token(self) -> str:
        """A token that is good for at least 30 s. Errors: Fault upstream_auth, or whatever keeps the token server from answering.

        Callers who ask at once wait for the same answer; a renewal that fails hurts nobody while the old token is good.
        """
        if self._now() < self._expires_at - _RENEW_S:
            return self._value
        if self._renewal is None:
            self._renewal = asyncio.ensure_future(self._renew())
            self._renewal.add_done_callback(self._renewed)
        try:
            await asyncio.shield(self._renewal)
        except Fault:
            if self._now() >= self._expires_at - _LEAST_S:
                raise
        return self._value

    def _renewed(self, task: "asyncio.Task[None]") -> None:
        self._renewal = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may be waiting any more

    async def _renew(self) -> None:
        if self._credentials is None:
            try:
                self._credentials = self._find()
            except ValueError as error:
                raise Fault("upstream_auth", f"No credentials for Google Cloud: {error}.") from None
        asked_at = self._now()
        status, body = await self._fetch(self._credentials.ask(asked_at))
        try:
            found = _token.decode(body) if status == 200 else None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found = None
        if found is None:
            text = f"Google's token server refused this gateway's credentials (status {status}); the operator must check them."
            raise Fault("upstream_auth", text, upstream_status=status)
        self._value, self._expires_at = found.access_token, asked_at + found.expires_in


def _posted(url: str, **form: str) -> TokenRequest:
    return TokenRequest(url, urlencode(form).encode(), (("content-type", "application/x-www-form-urlencoded"),))


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _sign(private_key: str, data: bytes) -> bytes:
    """RSASSA-PKCS1-v1_5 with SHA-256 over `data`. Errors: Fault upstream_auth for a key that is none."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError):
        raise Fault("upstream_auth", "The private key in the Google credentials file cannot be read; download a new key file.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Fault("upstream_auth", "The private key in the Google credentials file is not an RSA key; download a new key file.")
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


async def fetch_from_server(request: TokenRequest) -> tuple[int, bytes]:
    """Ask a token server over a connection of its own: it is asked once an hour. Errors: Fault."""
    scheme, _, rest = request.url.partition("://")
    authority, slash, path = rest.partition("/")
    pool = Pool(parse_target(f"{scheme}://{authority}"), 1)
    verb = "GET" if request.form is None else "POST"
    fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
    target = f"http://{authority}{slash}{path}" if pool.target.proxy and not pool.target.tls else f"{slash}{path}"
    head = f"{verb} {target} HTTP/1.1\r\nhost: {pool.target.authority}\r\naccept-encoding: identity\r\n{fields}"
    try:
        response = await pool.send(head.encode("latin-1"), request.form or b"", Timeouts(5.0, 20.0, 20.0, 30.0))
        return response.status, await response.read()
    finally:
        pool.close()
