"""The nightly check: everything that the ledger promises, proved from its rows."""

from collections.abc import Mapping

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

_MOST = 20  # sentences of one kind

_PROOFS: Mapping[str, TextClause] = {
    "The postings of movement {} sum to {} and not to 0.": text(
        "SELECT movement_id, sum(amount_nano) FROM postings GROUP BY movement_id HAVING sum(amount_nano) <> 0 LIMIT :most"
    ),
    "The balance of {} is {}, but its postings sum to {}.": text(
        "SELECT accounts.id, balance_nano, coalesce(sum(amount_nano), 0) FROM accounts LEFT JOIN postings ON account_id = accounts.id "
        "GROUP BY accounts.id, balance_nano HAVING balance_nano <> coalesce(sum(amount_nano), 0) LIMIT :most"
    ),
    "Requests were charged {}, but income is {}.": text(
        "SELECT charged, income FROM (SELECT (SELECT coalesce(sum(charged_nano), 0) FROM usage_days) AS charged, "
        "(SELECT coalesce(sum(balance_nano), 0) FROM accounts WHERE id = 'income') AS income) AS sums WHERE charged <> income LIMIT :most"
    ),
    "Keys were charged {}, but projects {}.": text(
        "SELECT keys, projects FROM (SELECT (SELECT coalesce(sum(charged_nano), 0) FROM usage_days) AS keys, "
        "(SELECT coalesce(sum(charged_nano), 0) FROM project_usage_days) AS projects) AS sums WHERE keys <> projects LIMIT :most"
    ),
    "{} is at {}: below 0.": text("SELECT id, balance_nano FROM accounts WHERE id LIKE 'wallet/%' AND balance_nano < 0 LIMIT :most"),
    "Lease {} is at {}: below 0.": text("SELECT id, amount_nano FROM leases WHERE amount_nano < 0 LIMIT :most"),
    "{} lends {}, but holds only {}.": text(
        "SELECT accounts.id, sum(amount_nano), balance_nano FROM accounts JOIN leases ON leases.org_id = accounts.org_id "
        "JOIN organisations ON organisations.id = accounts.org_id WHERE prepaid AND accounts.id LIKE 'wallet/%' "
        "GROUP BY accounts.id, balance_nano HAVING sum(amount_nano) > balance_nano LIMIT :most"
    ),
}


async def find_errors(connection: AsyncConnection) -> list[str]:
    """What does not hold, a sentence each, in the state that the caller's transaction sees."""
    found: list[str] = []
    for sentence, proof in _PROOFS.items():
        found += [sentence.format(*row) for row in await connection.execute(proof, {"most": _MOST})]
    return found
