"""AWS's signature against AWS's own test vectors, and the places where credentials are found."""

from pathlib import Path

import pytest

from shoal.providers.aws_signing import Credentials, bearer_token, find_credentials, find_region, sign

# the key, the time and the signatures are those of AWS's Signature Version 4 test suite:
# https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite/v4
KEY, SECRET, NOW = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 1440938160.0
HOST_AND_DATE = "host;x-amz-date"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ALL = f"/?{UNRESERVED}={UNRESERVED}"
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/"
    "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64"
    "lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
FORM = [
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Content-Length", "13"),
    ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
]


def signature(method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"", token: str | None = None) -> tuple[str, str]:
    """The signed names and the signature of a request to the suite's service."""
    url = f"https://example.amazonaws.com{path}"
    said = dict(sign(method, url, headers, body, Credentials(KEY, SECRET, token), "us-east-1", "service", NOW))
    assert said["x-amz-date"] == "20150830T123600Z"
    assert said.get("x-amz-security-token") == token
    head, names, value = said["authorization"].split(", ")
    assert head == f"AWS4-HMAC-SHA256 Credential={KEY}/20150830/us-east-1/service/aws4_request"
    return names.removeprefix("SignedHeaders="), value.removeprefix("Signature=")


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "names", "expected"),
    [
        ("GET", "/", [], b"", HOST_AND_DATE, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", [], b"", HOST_AND_DATE, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET", "/?Param2=value2&Param1=value1", [], b"",
            HOST_AND_DATE, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("GET", ALL, [], b"", HOST_AND_DATE, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        ("GET", "/example space/", [], b"", HOST_AND_DATE, "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        (
            "GET", "/", [("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')], b"",
            "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "GET", "/", [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")], b"",
            "host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "POST", "/", FORM, b"Param1=value1",
            "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
            "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        ),
    ],
)  # fmt: skip
def test_the_suites_vectors(method: str, path: str, headers: list[tuple[str, str]], body: bytes, names: str, expected: str) -> None:
    assert signature(method, path, headers, body) == (names, expected)


def test_the_suites_vector_with_a_session_token() -> None:
    expected = "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    assert signature("POST", "/", [], token=TOKEN) == ("host;x-amz-date;x-amz-security-token", expected)


def test_a_model_with_an_encoded_colon_is_signed_encoded_twice() -> None:
    """As AWS's SDK for Python signs the same request."""
    url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.amazon.nova-micro-v1%3A0/converse"
    headers = [("content-type", "application/json")]
    said = dict(sign("POST", url, headers, b"{}", Credentials(KEY, SECRET), "us-east-1", "bedrock", NOW))
    assert said["authorization"].endswith("Signature=ef7b92cac5639cc01abfde8d2e37f6d7124ca6e0daf558d6457ab773d974c6ba")


def test_the_host_as_the_caller_names_it_is_signed_once() -> None:
    assert signature("GET", "/", [("Host", "example.amazonaws.com")]) == signature("GET", "/", [])


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials("AKID", "SECRETKEY", "TOKENTOKEN"))
    assert "SECRETKEY" not in shown
    assert "TOKENTOKEN" not in shown


def test_the_environment_comes_first(tmp_path: Path) -> None:
    write(tmp_path / ".aws" / "credentials", "[default]\naws_access_key_id = F\naws_secret_access_key = G\n")
    environ = {
        "AWS_ACCESS_KEY_ID": "A",
        "AWS_SECRET_ACCESS_KEY": "B",
        "AWS_SESSION_TOKEN": "C",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "x",
    }
    assert find_credentials(environ, tmp_path) == Credentials("A", "B", "C")
    assert find_region(environ, tmp_path) == "eu-west-1"
    assert find_credentials({"AWS_ACCESS_KEY_ID": "A"}, tmp_path) == Credentials("F", "G")


def test_profiles_of_the_shared_files(tmp_path: Path) -> None:
    write(
        tmp_path / ".aws" / "credentials",
        "[default]\naws_access_key_id = A\naws_secret_access_key = B%\n"
        "[work]\naws_access_key_id=C\naws_secret_access_key=D\naws_session_token=E\n",
    )
    write(tmp_path / ".aws" / "config", "[default]\nregion = us-east-1\n[profile work]\nregion = us-west-2\n[work]\nregion = no\n")
    assert find_credentials({}, tmp_path) == Credentials("A", "B%")
    assert find_region({}, tmp_path) == "us-east-1"
    assert find_credentials({"AWS_PROFILE": "work"}, tmp_path) == Credentials("C", "D", "E")
    assert find_region({"AWS_PROFILE": "work"}, tmp_path) == "us-west-2"
    assert find_credentials({"AWS_PROFILE": "none"}, tmp_path) is None
    assert find_region({"AWS_PROFILE": "none"}, tmp_path) is None


def test_the_config_file_may_hold_keys_and_both_files_may_lie_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "c", "[profile x]\naws_access_key_id = A\naws_secret_access_key = B\n")
    environ = {"AWS_PROFILE": "x", "AWS_CONFIG_FILE": "~/c", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "missing")}
    assert find_credentials(environ, tmp_path) == Credentials("A", "B")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / ".aws" / "credentials", "aws_access_key_id = A\n")
    with pytest.raises(ValueError, match="credentials cannot be read"):
        find_credentials({}, tmp_path)


def test_a_bedrock_key_is_a_bearer_token() -> None:
    assert bearer_token({"AWS_BEARER_TOKEN_BEDROCK": "ABSK"}) == "ABSK"
    assert bearer_token({"AWS_BEARER_TOKEN_BEDROCK": ""}) is None


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
