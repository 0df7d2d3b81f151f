"""Payments that Stripe tells of. What it sends is signed with a secret that only it and we know; without that secret nothing is believed.

https://docs.stripe.com/webhooks#verify-manually
"""

import hashlib
import hmac
import time
from typing import Any

import msgspec
from litestar import post

from shoal.control.amounts import require_usd
from shoal.control.given import GivenOptions, GivenStore
from shoal.control.request import AdminRequest, read
from shoal.core.errors import Fault
from shoal.core.terms import MOST_NANO

SOURCE = "stripe"
TOLERANCE_S = 300
_NANO_PER_CENT = 10_000_000
_MOST_SIGNATURES = 16
_PAID = ("checkout.session.completed", "checkout.session.async_payment_succeeded")


class Session(msgspec.Struct):
    """A checkout that is complete, as far as it matters here. `client_reference_id`, or the metadata, names the organisation."""

    amount_total: int | None = None
    currency: str | None = None
    payment_status: str | None = None
    payment_intent: str | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None


class EventData(msgspec.Struct):
    """What an event is about."""

    object: msgspec.Raw


class Event(msgspec.Struct):
    """One event. https://docs.stripe.com/api/events/object"""

    id: str
    type: str
    data: EventData


class ReceivedView(msgspec.Struct, frozen=True):
    """That an event was received, and whether it put money into a wallet: not the second time."""

    received: bool
    credited: bool


@post("/webhooks/stripe", status_code=200, security=[])
async def take_event(request: AdminRequest, store: GivenStore, options: GivenOptions) -> ReceivedView:
    """What Stripe tells, signed by it."""
    body = await request.body()
    verify(body, request.headers.get("stripe-signature"), options.stripe_secret, time.time())
    event: Event = read(body, Event)
    if event.type not in _PAID:
        await store.payments.ignore(SOURCE, _checked_id(event.id))
        return ReceivedView(received=True, credited=False)
    session: Session = read(bytes(event.data.object), Session)
    if session.payment_status != "paid":  # it is told again when it is
        await store.payments.ignore(SOURCE, _checked_id(event.id))
        return ReceivedView(received=True, credited=False)
    require_usd(session.currency or "none")
    org_id = session.client_reference_id or (session.metadata or {}).get("organisation_id") or ""
    nano = (session.amount_total or 0) * _NANO_PER_CENT
    if not 0 < nano <= MOST_NANO:
        raise Fault("invalid_value", "The amount must be positive, and not more than there is.", param="amount_total")
    payment = session.payment_intent or ""
    credited = await store.payments.take(SOURCE, _checked_id(event.id), org_id[:64], nano, payment=_checked_id(payment) if payment else "")
    return ReceivedView(received=True, credited=credited)


HANDLERS: list[Any] = [take_event]


def verify(body: bytes, header: str | None, secret: bytes | None, now_s: float) -> None:
    """Whether Stripe has signed this body of late. Errors: Fault forbidden without a secret of ours, or without a right signature."""
    if not secret:
        text = "Payments are not taken here: no secret of Stripe's webhooks is configured (credits.stripe_webhook_secret_env)."
        raise Fault("forbidden", text)
    signed_at, signatures = _parse(header or "")
    expected = hmac.new(secret, b"%b.%b" % (signed_at.encode(), body), hashlib.sha256).hexdigest().encode()
    # all of them are compared, in constant time: an answer's time tells nothing
    matches = [hmac.compare_digest(expected, one.encode("utf-8", "replace")) for one in signatures]
    if not any(matches):
        raise Fault("forbidden", "The signature is not Stripe's.", param="Stripe-Signature")
    if abs(now_s - int(signed_at)) > TOLERANCE_S:
        raise Fault("forbidden", f"The signature is older than {TOLERANCE_S} s, or the clocks differ.", param="Stripe-Signature")


def _parse(header: str) -> tuple[str, list[str]]:
    """When, and what was signed, of scheme v1: `t=1492774577,v1=5257a8...`."""
    fields = [one.strip().partition("=")[::2] for one in header.split(",")[:_MOST_SIGNATURES]]
    times = [value for name, value in fields if name == "t"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
        raise Fault("forbidden", "The header Stripe-Signature is missing, or is none.", param="Stripe-Signature")
    return times[0], [value for name, value in fields if name == "v1"]


def _checked_id(text: str) -> str:
    """An id of Stripe's as it is stored. Errors: Fault invalid_value for what can be none."""
    if not 1 <= len(text) <= 255 or not text.isascii() or not text.isprintable():
        raise Fault("invalid_value", "This is no id of Stripe's.", param="id")
    return text
