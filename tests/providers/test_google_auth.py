"""Tokens for Vertex from a scripted token server: which credentials are found, how they ask, and when a token is renewed."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from shoal.core.errors import Fault
from shoal.providers.google_auth import (
    SCOPE,
    AuthorizedUser,
    MetadataServer,
    ServiceAccount,
    TokenRequest,
    TokenSource,
    fetch_from_server,
    find_credentials,
)

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
USER = AuthorizedUser("id", "hidden", "refresh")


class Server:
    """Answers with the next of `answers`, or the last again; remembers what it was asked."""

    def __init__(self, *answers: tuple[int, dict[str, Any]]) -> None:
        self.answers = list(answers)
        self.asked: list[TokenRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, request: TokenRequest) -> tuple[int, bytes]:
        """A token server's answer."""
        self.asked.append(request)
        await self.gate.wait()
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return status, json.dumps(body).encode()


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at


def token(value: str, expires_in: int = 3599) -> tuple[int, dict[str, Any]]:
    """An answer that grants a token."""
    return 200, {"access_token": value, "expires_in": expires_in, "token_type": "Bearer"}


async def test_a_token_is_kept_until_five_minutes_before_its_end() -> None:
    server, clock = Server(token("one"), token("two")), Clock()
    source = TokenSource(lambda: USER, server.fetch, clock)
    assert [await source.token(), await source.token()] == ["one", "one"]
    clock.at += 3599 - 301
    assert await source.token() == "one"
    clock.at += 2
    assert await source.token() == "two"
    assert len(server.asked) == 2


async def test_who_asks_at_once_waits_for_the_same_answer() -> None:
    server = Server(token("one"), token("two"))
    server.gate.clear()
    source = TokenSource(lambda: USER, server.fetch, Clock())
    waiting = [asyncio.ensure_future(source.token()) for _ in range(5)]
    await asyncio.sleep(0)
    server.gate.set()
    assert await asyncio.gather(*waiting) == ["one"] * 5
    assert len(server.asked) == 1


async def test_one_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    server = Server(token("one"))
    server.gate.clear()
    source = TokenSource(lambda: USER, server.fetch, Clock())
    gone, stays = asyncio.ensure_future(source.token()), asyncio.ensure_future(source.token())
    await asyncio.sleep(0)
    gone.cancel()
    server.gate.set()
    assert await stays == "one"


async def test_a_renewal_that_fails_hurts_nobody_while_the_old_token_is_good() -> None:
    server, clock = Server(token("one"), (503, {})), Clock()
    source = TokenSource(lambda: USER, server.fetch, clock)
    await source.token()
    clock.at += 3599 - 100
    assert await source.token() == "one"
    clock.at += 80
    with pytest.raises(Fault) as caught:
        await source.token()
    assert caught.value.kind == "upstream_auth"


async def test_a_refusal_says_nothing_of_the_credentials() -> None:
    source = TokenSource(lambda: USER, Server((400, {"error": "invalid_grant", "error_description": "hidden"})).fetch)
    with pytest.raises(Fault) as caught:
        await source.token()
    assert caught.value.kind == "upstream_auth"
    assert "hidden" not in caught.value.message and "400" in caught.value.message


async def test_nothing_is_looked_for_before_a_token_is_asked_for() -> None:
    def find() -> AuthorizedUser:
        raise ValueError("the file is not there")

    source = TokenSource(find, Server(token("one")).fetch)
    with pytest.raises(Fault, match="the file is not there"):
        await source.token()


def decoded(part: str) -> dict[str, Any]:
    """A part of a JWT."""
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_service_account_signs_an_assertion_of_an_hour() -> None:
    account = ServiceAccount("me@project.example", PEM, "key-1", "https://token.example/x")
    request = account.ask(1_700_000_000.9)
    assert request.url == "https://token.example/x" and request.form is not None
    form = parse_qs(request.form.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    assert decoded(head) == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    issued = {"iat": 1_700_000_000, "exp": 1_700_003_600}
    assert decoded(claims) == {"iss": "me@project.example", "scope": SCOPE, "aud": "https://token.example/x"} | issued
    proof = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    KEY.public_key().verify(proof, f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("pem", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_a_fault(pem: str) -> None:
    with pytest.raises(Fault) as caught:
        ServiceAccount("me", pem).ask(0)
    assert caught.value.kind == "upstream_auth"


def test_an_authorized_user_refreshes() -> None:
    form = USER.ask(0).form
    assert form is not None
    expected = {"grant_type": ["refresh_token"], "client_id": ["id"], "client_secret": ["hidden"], "refresh_token": ["refresh"]}
    assert parse_qs(form.decode()) == expected


def test_credentials_are_found_where_google_puts_them(tmp_path: Path) -> None:
    named = tmp_path / "key.json"
    named.write_text(json.dumps({"type": "service_account", "client_email": "me", "private_key": PEM, "project_id": "p"}))
    assert find_credentials({"GOOGLE_APPLICATION_CREDENTIALS": str(named), "HOME": str(tmp_path)}) == ServiceAccount("me", PEM)
    assert find_credentials({"HOME": str(tmp_path)}) == MetadataServer()
    assert find_credentials({"HOME": str(tmp_path), "GCE_METADATA_HOST": "127.0.0.1:1"}) == MetadataServer("127.0.0.1:1")
    left = tmp_path / ".config/gcloud/application_default_credentials.json"
    left.parent.mkdir(parents=True)
    left.write_text(json.dumps({"type": "authorized_user", "client_id": "id", "client_secret": "hidden", "refresh_token": "refresh"}))
    assert find_credentials({"HOME": str(tmp_path)}) == USER
    assert find_credentials({"CLOUDSDK_CONFIG": str(left.parent)}) == USER


@pytest.mark.parametrize("text", ["", "{}", '{"type":"external_account"}', '{"type":"service_account","private_key":"hidden"}', "\xff"])
def test_a_file_that_cannot_be_used_is_named_without_its_contents(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text, "latin-1")
    with pytest.raises(ValueError, match=r"key\.json") as caught:
        find_credentials({"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
    assert "hidden" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read"):
        find_credentials({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "missing.json")})


class Metadata(BaseHTTPRequestHandler):
    """A metadata server, and a token server beside it."""

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def answer(self, status: int, body: bytes) -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """A token for whoever names the flavour."""
        right = self.headers["metadata-flavor"] == "Google" and self.path == "/computeMetadata/v1/instance/service-accounts/default/token"
        self.answer(200 if right else 403, json.dumps(token("from-the-machine")[1]).encode())

    def do_POST(self) -> None:
        """The form, back."""
        self.answer(200, self.rfile.read(int(self.headers["content-length"])))


@pytest.fixture
def metadata() -> Iterator[str]:
    """Where a metadata server listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_a_machine_gets_its_token_over_a_real_socket(metadata: str) -> None:
    assert await TokenSource(lambda: MetadataServer(metadata), fetch_from_server).token() == "from-the-machine"
    assert await fetch_from_server(TokenRequest(f"http://{metadata}/token", b"a=1")) == (200, b"a=1")


async def test_no_server_is_an_unreachable_upstream() -> None:
    with pytest.raises(Fault) as caught:
        await TokenSource(lambda: MetadataServer("127.0.0.1:1"), fetch_from_server).token()
    assert caught.value.kind == "upstream_unreachable"
