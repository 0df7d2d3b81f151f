"""Names that people give: as they are stored, and which are none."""

import re
import unicodedata

from shoal.core.errors import Fault

NAME_MAX_CHARS = 64
EMAIL_MAX_CHARS = 254
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


def check_name(name: str, of: str, param: str = "name") -> str:
    """The name as it is stored (NFC). Raises Fault(invalid_value) unless it is 1 to 64 printable characters without outer spaces."""
    name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= NAME_MAX_CHARS:
        raise Fault("invalid_value", f"The {of} has {len(name)} characters; it must have 1 to {NAME_MAX_CHARS}.", param=param)
    if not name.isprintable() or name != name.strip():
        raise Fault("invalid_value", f"The {of} must be printable: no control characters, line breaks or outer spaces.", param=param)
    return name


def check_email(email: str) -> str:
    """An address as it is stored: in lower case. Raises Fault(invalid_value) for what can be none."""
    email = unicodedata.normalize("NFC", email.strip()).lower()
    if len(email) > EMAIL_MAX_CHARS or not email.isprintable() or not _EMAIL.fullmatch(email):
        raise Fault("invalid_value", "The email address must look like name@example.org.", param="email")
    return email
