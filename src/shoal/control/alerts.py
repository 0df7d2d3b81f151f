"""Alerts: what an organisation should look at, such as a wallet that is low."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import Parameter

from shoal.control.amounts import moment_text
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import NUMBER, Cursor, Id, Limit, Page, by_number, paged, read_cursor
from shoal.core.money import usd_text
from shoal.storage.alerts import Alert


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """An alert. Its `detail` holds amounts in US dollars, as they were when it was raised."""

    id: int
    at: str | None
    kind: str
    detail: dict[str, str]
    seen_at: str | None
    ended_at: str | None


class SeenView(msgspec.Struct, frozen=True):
    """That an alert was seen."""

    seen: bool


@get("/organisations/{org_id:str}/alerts")
async def list_alerts(org_id: Id, actor: GivenActor, store: GivenStore, limit: Limit = 50, cursor: Cursor = None) -> Page[AlertView]:
    """List alerts, newest first."""
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    after = read_cursor(cursor, NUMBER)
    rows = await store.alerts.list_of(org_id, before=None if after is None else after[0], limit=limit + 1)
    return paged(rows, limit, show, by_number)


@post("/organisations/{org_id:str}/alerts/{alert_id:int}/seen", status_code=200)
async def see_alert(org_id: Id, alert_id: Annotated[int, Parameter(ge=0, lt=2**62)], actor: GivenActor, store: GivenStore) -> SeenView:
    """Say that an alert was seen."""
    actor.require("developer", org_id)
    await store.alerts.see(org_id, alert_id)
    return SeenView(seen=True)


HANDLERS = [list_alerts, see_alert]


def show(alert: Alert) -> AlertView:
    """An alert as it is shown."""
    return AlertView(
        id=alert.id,
        at=moment_text(alert.at_ms),
        kind=alert.kind,
        detail={name.removesuffix("_nano") + "_usd": usd_text(nano) for name, nano in alert.detail.items()},
        seen_at=moment_text(alert.seen_at_ms),
        ended_at=moment_text(alert.ended_at_ms),
    )
