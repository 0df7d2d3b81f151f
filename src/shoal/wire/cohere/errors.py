"""Errors of Cohere: a status and a message. https://docs.cohere.com/reference/errors"""

from collections.abc import Mapping

from shoal.core.errors import Fault
from shoal.wire.openai_chat import errors as by_status

# 402: our account is out of credit, which is no business of the caller's. 499: Cohere says that we hung up, which we did not.
_STATUSES = {402: 403, 499: 500}


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
    """An error answer as a Fault."""
    return by_status.read(_STATUSES.get(status, status), headers, body)
