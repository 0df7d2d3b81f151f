"""Opens everything that must survive, for one process."""

from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.alerts import Alerts
from shoal.storage.audit import Audit
from shoal.storage.bodies import Bodies
from shoal.storage.codes import Codes
from shoal.storage.completions import Completions
from shoal.storage.consumption import Consumption
from shoal.storage.credentials import Credentials
from shoal.storage.database import open_engine, parse_address
from shoal.storage.feedback import Feedbacks
from shoal.storage.files import Files
from shoal.storage.fold import Folder, recover
from shoal.storage.grants import Grants
from shoal.storage.holders import Holders
from shoal.storage.jobs import Jobs
from shoal.storage.journal import Journal
from shoal.storage.key_changes import KeyChanges
from shoal.storage.keys import KeyStore
from shoal.storage.ledger import Ledger
from shoal.storage.lender import StoreLender
from shoal.storage.members import Members
from shoal.storage.organisations import Organisations
from shoal.storage.payments import Payments
from shoal.storage.projects import Projects
from shoal.storage.reach import ReachedEngine
from shoal.storage.receipts import Receipts
from shoal.storage.request_log import RequestLog
from shoal.storage.responses import Responses
from shoal.storage.retention import Retention
from shoal.storage.spending import Spending
from shoal.storage.statements import Statements
from shoal.storage.upgrade import upgrade


class Store:
    """Everything that is stored, one attribute a noun. Belongs to the event loop it was opened on."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        engine = ReachedEngine(engine.sync_engine)
        self.keys = KeyStore(engine)
        self.key_changes = KeyChanges(engine)
        self.organisations = Organisations(engine)
        self.projects = Projects(engine)
        self.members = Members(engine)
        self.ledger = Ledger(engine)
        self.grants = Grants(engine)
        self.statements = Statements(engine)
        self.spending = Spending(engine)
        self.bodies = Bodies(engine)
        self.completions = Completions(engine)
        self.feedback = Feedbacks(engine)
        self.files = Files(engine)
        self.retention = Retention(engine)
        self.codes = Codes(engine)
        self.payments = Payments(engine)
        self.alerts = Alerts(engine)
        self.audit = Audit(engine)
        self.holders = Holders(engine)
        self.receipts = Receipts(engine)
        self.request_log = RequestLog(engine)
        self.consumption = Consumption(engine)
        self.responses = Responses(engine)
        self.credentials = Credentials(engine)
        self.jobs = Jobs(engine)

    def lend(self, home: Path) -> StoreLender:
        """What this process borrows by; `home` is where its journal's directory lies. Call its `beat` first, and `close` at the end."""
        return StoreLender(self.engine, home)

    async def recover(self, directory: Path) -> None:
        """Fold what dead processes left in this journal directory."""
        await recover(self.engine, directory)

    def fold(self, directory: Path, journal: Journal | None = None, *, everyone: bool = False) -> Folder:
        """What folds this directory; run it as a task. With `everyone` it folds what living processes write, too."""
        return Folder(self.engine, directory, journal, everyone=everyone)

    async def close(self) -> None:
        """Close every connection and end its thread."""
        await self.engine.dispose()


async def open_store(address: str | Path) -> Store:
    """The store at `address` (`[storage] url`, or the path of an SQLite file), created or upgraded if need be. Raises Fault."""
    engine = open_engine(parse_address(address))
    try:
        await upgrade(engine)
    except BaseException:
        await engine.dispose()
        raise
    return Store(engine)


STORE_ERRORS = (SQLAlchemyError, OSError, Fault)
"""What a method of the store may raise: a Fault that says what is wrong with what was asked, or that the database is away; the others
come from opening it, from folding, and from its disk."""
