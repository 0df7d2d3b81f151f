"""Who proves how: the signature or token that a provider's row asks for, ready for its channel."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from shoal.core.errors import Fault
from shoal.providers import aws_signing, google_auth
from shoal.providers.channel import Sign
from shoal.providers.registry import Provider

_AWS_SERVICE = "bedrock"


def find_sign(provider: Provider) -> Sign | None:
    """What signs this provider's calls; None where a key, or nothing, is enough."""
    return {"aws": _sign_for_aws, "google": _sign_for_google}[provider.auth](provider) if provider.auth in ("aws", "google") else None


def _sign_for_aws(provider: Provider) -> Sign:
    values = provider.values
    region = values.get("region", "us-east-1")

    def find() -> aws_signing.Credentials:
        if "access_key_id" in values and "secret_access_key" in values:
            return aws_signing.Credentials(values["access_key_id"], values["secret_access_key"], values.get("session_token"))
        try:
            found = aws_signing.find_credentials(os.environ, Path.home())  # anew each time: files are renewed while we run
        except ValueError as error:
            raise Fault("upstream_auth", f"AWS credentials cannot be read: {error}.") from None
        if found is None:
            raise Fault("upstream_auth", "There are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
        return found

    async def sign(method: str, url: str, body: bytes) -> Sequence[tuple[str, str]]:
        return aws_signing.sign(method, url, (("content-type", "application/json"),), body, find(), region, _AWS_SERVICE, time.time())

    return sign


def _sign_for_google(provider: Provider) -> Sign:
    def find() -> google_auth.Credentials:
        file = provider.values.get("credentials_file")
        return google_auth.read_credentials(Path(file)) if file else google_auth.find_credentials(os.environ)

    source = google_auth.TokenSource(find, google_auth.fetch_from_server)

    async def sign(method: str, url: str, body: bytes) -> Sequence[tuple[str, str]]:
        return (("authorization", f"Bearer {await source.token()}"),)

    return sign
