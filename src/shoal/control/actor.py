"""Who acts, and what that one may do.

A key for administration is the operator's, which may do everything, or a member's, whose role counts in the one organisation that it
sees: what belongs to others is not found, whatever it is.
"""

from typing import Final

import msgspec

from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR
from shoal.storage.keys import Key
from shoal.storage.members import Role

RANKS: Final[dict[str, int]] = {"viewer": 1, "developer": 2, "admin": 3, "owner": 4, "operator": 5}


class Actor(msgspec.Struct, frozen=True):
    """The holder of a key for administration. `role` is a member's, or "operator"."""

    key_id: str
    org_id: str
    role: str
    member_id: str | None = None

    @property
    def name(self) -> str:
        """What the audit log calls it."""
        return self.key_id

    @property
    def is_operator(self) -> bool:
        """Whether it may do everything."""
        return self.role == "operator"

    def require_operator(self) -> None:
        """Errors: Fault forbidden."""
        if not self.is_operator:
            raise Fault("forbidden", "Only a key of the operator's may do this.")

    def require(self, role: Role, org_id: str) -> None:
        """Whether it sees an organisation, and has this role there, or a higher one. Errors: Fault not_found, forbidden."""
        if not self.is_operator and org_id != self.org_id:
            raise Fault("not_found", f"There is no organisation {org_id[:64]!r}.", param="organisation")
        self.require_rank(role)

    def require_rank(self, role: str) -> None:
        """Errors: Fault forbidden, unless its role is this one, or a higher one."""
        if RANKS[self.role] < RANKS[role]:
            raise Fault("forbidden", f"This needs the role {role!r}, or a higher one; the key is a {self.role}'s.")


def role_of(key: Key, member_role: str | None) -> str | None:
    """The role that a key for administration gives; None: none any more. The operator's own belong to nobody in particular."""
    if key.member_id is None:
        return "operator" if key.org_id == OPERATOR else None
    return member_role
