"""Where an upstream is: addresses are checked at start, proxies come from the environment, and never for this machine itself."""

import ssl

import pytest

from shoal.net.target import parse_target, tls_context


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "tls", "host", "port", "prefix", "authority"),
    [
        ("https://api.openai.com/v1", True, "api.openai.com", 443, "/v1", "api.openai.com"),
        ("https://api.openai.com/v1/", True, "api.openai.com", 443, "/v1", "api.openai.com"),
        ("http://localhost:8000", False, "localhost", 8000, "", "localhost:8000"),
        ("http://[::1]:8000/v1", False, "::1", 8000, "/v1", "[::1]:8000"),
        ("HTTPS://Example.test", True, "example.test", 443, "", "example.test"),
    ],
)
def test_urls(url: str, tls: bool, host: str, port: int, prefix: str, authority: str) -> None:
    found = parse_target(url)
    assert (found.tls, found.host, found.port, found.prefix, found.authority) == (tls, host, port, prefix, authority)
    assert found.proxy is None


def test_a_unix_socket() -> None:
    found = parse_target("unix:/run/x.sock")
    assert (found.uds, found.tls, found.prefix) == ("/run/x.sock", False, "/v1")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com/v1",
        "ftp://x/",
        "https://",
        "https://user:pass@x/v1",
        "https://x/v1?key=1",
        "https://x/v1#a",
        "http://x:port/",
        "http://x:99999/",
        "http://x/\r\nx-evil: 1",
        "http://x /",
        "http://ü.test/",
        "unix:relative.sock",
    ],
)
def test_what_is_no_address_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_target(url)


def test_proxies_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("https_proxy", "user:p%40ss@secure-proxy.test:3129")
    monkeypatch.setenv("NO_PROXY", "inside.test,.local")
    plain, secure = parse_target("http://a.test/v1").proxy, parse_target("https://a.test/v1").proxy
    assert plain is not None
    assert secure is not None
    assert (plain.host, plain.port, plain.authorization) == ("proxy.test", 3128, None)
    assert (secure.host, secure.port, secure.authorization) == ("secure-proxy.test", 3129, "Basic dXNlcjpwQHNz")
    for url in ("http://inside.test/", "https://x.local/", "http://127.0.0.1/", "http://localhost:8000/", "http://[::1]/"):
        assert parse_target(url).proxy is None


def test_a_proxy_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://proxy.test")
    with pytest.raises(ValueError, match="http://"):
        parse_target("https://a.test/")


def test_certificates_and_names_are_checked() -> None:
    context = tls_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
