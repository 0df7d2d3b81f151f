"""Errors of Bedrock, by their type: in a header or a member of an answer, and in frames of a stream that has begun.

https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

from collections.abc import Mapping

import msgspec

from shoal.core.errors import Fault
from shoal.wire.openai_chat import errors as by_status

# the status that says what the type means, whatever the status it came with
_STATUSES = {
    "AccessDeniedException": 403,
    "ExpiredToken": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignature": 403,
    "IncompleteSignatureException": 403,
    "InvalidClientTokenId": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationToken": 403,
    "MissingAuthenticationTokenException": 403,
    "NotAuthorized": 403,
    "OptInRequired": 403,
    "RequestExpired": 403,
    "SignatureDoesNotMatch": 403,
    "UnrecognizedClientException": 403,
    "ResourceNotFoundException": 404,
    "ModelTimeoutException": 408,
    "ModelNotReadyException": 429,
    "ServiceQuotaExceededException": 429,
    "ThrottlingException": 429,
    "TooManyRequestsException": 429,
    "InternalFailure": 500,
    "InternalServerException": 500,
    "ModelErrorException": 500,
    "ModelStreamErrorException": 500,
    "ServiceUnavailable": 503,
    "ServiceUnavailableException": 503,
    "ValidationError": 400,
    "ValidationException": 400,
}


class _Said(msgspec.Struct):
    type: str | None = msgspec.field(name="__type", default=None)


_said = msgspec.json.Decoder(_Said)


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
    """An error answer as a Fault: its kind by its type, or by the status where the type is not known."""
    return by_status.read(_STATUSES.get(_type(headers, body), status), headers, body)


def _type(headers: Mapping[bytes, bytes], body: bytes) -> str:
    """`ValidationException:http://...` in the header, `com.amazon...#ValidationException` in the body."""
    said: str | None = headers.get(b"x-amzn-errortype", b"").decode("latin-1")
    if not said:
        try:
            said = _said.decode(body).type
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""
    return (said or "").partition(":")[0].rpartition("#")[2]


def read_frame(headers: Mapping[str, str], payload: bytes) -> Fault:
    """A frame that is an exception (with a type that the API names) or an error (with a code of the stream itself).

    https://smithy.io/2.0/aws/amazon-eventstream.html
    """
    named = headers.get(":exception-type") or headers.get(":error-code") or ""
    type = named[:1].upper() + named[1:]
    return by_status.read(_STATUSES.get(type, 500), {}, payload or msgspec.json.encode({"message": headers.get(":error-message", "")}))
