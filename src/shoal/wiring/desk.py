"""The process that serves the admin API and what callers keep, on a Unix socket that only its user can open; the gateway hands on what is
for it.

It is apart from the gateway's workers, whose memory and event loops belong to the path. When it dies it is started again, and the path does
not notice. Run by the parent as `python -m shoal.wiring.desk --socket PATH`.
"""

import argparse
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from shoal.control.app import build
from shoal.control.options import Options
from shoal.core.errors import Fault
from shoal.mini.catalogue import list_models
from shoal.net import host
from shoal.net.exchange import Exchange
from shoal.net.parent import follow_parent, tell_ready
from shoal.net.private import listen
from shoal.settings import Settings, home, load
from shoal.storage.store import open_store
from shoal.telemetry.log import configure

_GRACE_S = 10.0


class Nothing:
    """A door that takes no request: all go to the app. So nothing but `takes` is ever asked of it."""

    def takes(self, path: bytes) -> bool:
        """None."""
        return False

    def admit(self, exchange: Exchange) -> None:
        """Never asked."""

    def readmit(self, exchange: Exchange) -> bool:
        """Never asked."""
        return False

    async def serve(self, exchange: Exchange) -> None:
        """Never asked."""


async def serve(settings: Settings, socket: Path) -> None:
    """Serve until a signal ends it."""
    async with AsyncExitStack() as stack:
        store = await open_store(settings.storage.url or home() / "shoal.db")
        stack.push_async_callback(store.close)
        folder = store.fold(home() / "journal")
        variable = settings.credits.stripe_webhook_secret_env
        secret = os.environ.get(variable, "").encode() or None if variable else None
        bases = (lambda model: require_base(home(), model), settings.distil.max_jobs)
        options = Options(lambda: folder.flush(everyone=True), secret, settings.server.max_body_bytes, *bases, home())
        listening = listen(socket)
        stack.callback(socket.unlink, missing_ok=True)
        drain = host.Drain(drain_s=0.0, grace_s=_GRACE_S)
        await host.serve(Nothing(), build(store, options), sockets=[listening], drain=drain, on_ready=tell_ready)


def require_base(home: Path, model: str) -> None:
    """Errors: Fault, unless a student can be made of this model: one that generates and is prepared here."""
    cards = {card.name: card for card in list_models(home)}
    if model in cards and cards[model].kind == "chat" and not cards[model].org_id:
        return
    bases = ", ".join(sorted(name for name, card in cards.items() if card.kind == "chat" and not card.org_id))
    known = f"students can be made of {bases}" if bases else "none is prepared: `shoal pull minnow` prepares one"
    raise Fault("model_not_found", f"Students cannot be made of {model[:100]!r}: {known}.", param="model")


def main() -> None:
    """Entry of the process."""
    arguments = argparse.ArgumentParser(prog="shoal.wiring.desk")
    arguments.add_argument("--socket", type=Path, required=True)
    arguments.add_argument("--config", type=Path)
    given = arguments.parse_args()
    configure()
    follow_parent(lambda: os._exit(1))
    try:
        uvloop.run(serve(load(given.config), given.socket))
    except Fault as fault:
        print(f"shoal: {fault.message}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"shoal: cannot listen at {given.socket}: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
