"""Sticky: a session stays with one deployment, so that its prompt cache is warm.

The inner policy is asked to decide as the session sees the world: every draw depends on the session instead of the request, and passing
loads and speeds are not seen. Drawing per deployment, that is rendezvous hashing with the inner policy's weights: when a deployment goes,
only its own sessions move, each to a place of its own. One whose circuit is open is passed over until it is back.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from shoal.core.health import Health
from shoal.core.models import Deployment
from shoal.core.ports import View
from shoal.routing.balanced import Balanced
from shoal.routing.course import Course
from shoal.routing.strategy import Around, Strategy

_UNSEEN = Health()


class Sticky(Around, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`inner` decides, the same for every request of a session; a request without a session is decided as `inner` would."""

    inner: Strategy = Balanced()

    def choose(self, candidates: Sequence[Deployment], view: View) -> Course:
        """The session's own order."""
        if not view.session:
            return self.inner.choose(candidates, view)
        return self.inner.choose(candidates, SessionView(view, view.session)).because("the session's own order")


class SessionView:
    """A view in which nothing changes between the requests of a session but what they are."""

    def __init__(self, view: View, session: str) -> None:
        self._view = view
        self.session: str | None = session
        self.metadata: Mapping[str, str] = view.metadata
        self.max_tokens: int | None = view.max_tokens

    def uniform(self, key: str) -> float:
        """A number in [0, 1) that depends on the session and `key` alone."""
        digest = hashlib.blake2b(f"{self.session}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return (int.from_bytes(digest, "big") >> 11) / 2**53

    def health(self, deployment: Deployment) -> Health:
        """The same of all."""
        return _UNSEEN

    def tokens(self) -> int:
        """The request's input in tokens."""
        return self._view.tokens()

    def may_hedge(self) -> bool:
        """Whether the budget has room."""
        return self._view.may_hedge()
