"""What a caller may ask for under /v1 that no model answers: its project's stored completions, feedback, files and jobs. The desk has them.

A worker authenticates as for every request, and hands on who asks; the endpoint's name is what a key's scopes are about.
"""

from shoal.core.errors import Fault
from shoal.core.identity import Principal
from shoal.gateway.scopes import check_scope

_CHATS = b"/v1/chat/completions"
ERRANDS = {
    _CHATS: "stored_completions",
    b"/v1/feedback": "feedback",
    b"/v1/files": "files",
    b"/v1/fine_tuning": "fine_tuning",
}
"""The beginnings of paths, and the names of what is there."""

_MODELS = b"/v1/models/"


def find(method: bytes, path: bytes) -> str | None:
    """The name of what is asked for at a raw path; None where it is not the desk's. To complete a chat is a model's."""
    path = plain(path)
    if path == _CHATS and method not in (b"GET", b"HEAD"):
        return None
    if method == b"DELETE" and path.startswith(_MODELS):
        return "models"
    return next(
        (name for start, name in ERRANDS.items() if path == start or (path.startswith(start + b"/") and path != start + b"/")), None
    )


def plain(path: bytes) -> bytes:
    """The same path as the desk knows it."""
    return path.removeprefix(b"/openai")


def check(principal: Principal, name: str) -> None:
    """Errors: Fault forbidden, where the key is not for this; invalid_api_key where it belongs to no project."""
    if principal.scoped:
        check_scope(principal, name)
    if not principal.project_id:
        raise Fault("invalid_api_key", "This key belongs to no project, and only projects have things of their own.")
