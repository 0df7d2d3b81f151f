"""What stands behind a connection: where requests go in."""

from typing import Protocol

from shoal.net.exchange import Exchange


class Door(Protocol):
    """Where diverted requests go in."""

    def takes(self, path: bytes) -> bool:
        """Whether requests to this raw path are for this door, whatever their method."""

    def admit(self, exchange: Exchange) -> None:
        """Look at the headers, before any body is read. Raises Fault to refuse."""

    def readmit(self, exchange: Exchange) -> bool:
        """Admit a request whose head was admitted before, by the `ticket` it got then; False: look at it anew."""

    async def serve(self, exchange: Exchange) -> None:
        """Answer a whole request exactly once. Raises Fault, before the answer has begun, to answer with that."""
