"""What one request holds of its key's allowances: taken before anybody is asked, settled when all is known, released whatever happens.

A request is charged at most what it held, so that no allowance is ever overdrawn; what an answer cost beyond that is the operator's.
"""

from shoal.core.errors import Fault
from shoal.gateway.accounts import Account
from shoal.gateway.bounds import Bound, affordable_tokens
from shoal.gateway.purse import Purse, dollars
from shoal.gateway.rates import Bucket


class Hold:
    """One request's. `nano` is what is held of its key's money; None: its money is not counted."""

    __slots__ = ("_account", "_bucket", "_parallel", "_purse", "_tokens", "nano")

    def __init__(self, account: Account) -> None:
        self._account = account
        self._parallel: Bucket | None = None
        self._bucket: Bucket | None = None
        self._tokens = 0
        self._purse: Purse | None = None
        self.nano: int | None = None
        account.holds += 1

    @property
    def lease(self) -> str:
        """The lease that pays; empty where nothing is held."""
        return "" if self._purse is None else self._purse.lease

    def header_lines(self) -> bytes:
        """What the caller is told of its rates."""
        return self._account.header_lines()

    def try_enter(self) -> bool:
        """Count the request, if nobody must be asked for that."""
        account = self._account
        if account.parallel is not None:
            if not account.parallel.take(1):
                return False
            self._parallel = account.parallel
        return account.requests is None or account.requests.use(1)

    async def enter(self) -> None:
        """Wait for what `try_enter` could not have. Errors: Fault rate_limited."""
        account = self._account
        if account.parallel is not None and self._parallel is None:
            await account.parallel.wait(1)
            self._parallel = account.parallel
        if account.requests is not None:
            await account.requests.wait_to_use(1)

    def try_cover(self, nano: int, tokens: int) -> bool:
        """Hold the most that the request can cost, and the tokens that it is expected to use, if nobody must be asked for that."""
        account = self._account
        bucket, purse = account.tokens, account.purse
        if bucket is not None:
            tokens = min(tokens, bucket.burst)
            if not bucket.use(tokens):
                return False
            self._bucket, self._tokens = bucket, tokens
        if purse is not None:
            if not purse.take(nano):
                return False
            self._purse, self.nano = purse, nano
        return True

    async def cover(self, bound: Bound, tokens: int) -> None:
        """Wait for what `try_cover` could not have. Errors: Fault rate_limited, insufficient_quota, overloaded."""
        account = self._account
        bucket, purse = account.tokens, account.purse
        if bucket is not None and self._bucket is None:
            tokens = min(tokens, bucket.burst)
            await bucket.wait_to_use(tokens)
            self._bucket, self._tokens = bucket, tokens
        if purse is not None:
            try:
                await purse.wait(bound.nano)
            except Fault as fault:
                raise _advise(fault, bound, purse) from None
            self._purse, self.nano = purse, bound.nano

    async def extend(self, nano: int) -> None:
        """Hold more, for another try beside one that is paid for. Where it is not to be had, the charge will stay within what is held."""
        purse = self._purse
        if purse is None or self.nano is None:
            return
        if not purse.take(nano):
            try:
                await purse.wait(nano)
            except Fault:
                return
        self.nano += nano

    def settle(self, charged_nano: int, tokens: int | None) -> None:
        """The request is charged so much, and has used so many tokens (None: not known, so it is left at what was expected)."""
        if self._purse is not None and self.nano is not None:
            self._purse.put(self.nano, charged_nano)
            self._purse = self.nano = None
        if self._bucket is not None:
            if tokens is not None and tokens != self._tokens:
                self._bucket.correct(self._tokens - tokens)
            self._bucket = None

    def release(self) -> None:
        """The request is over. Where it was not settled, nothing is charged."""
        self.settle(0, 0)
        if self._parallel is not None:
            self._parallel.put(1, 0)
            self._parallel = None
        self._account.holds -= 1


def _advise(fault: Fault, bound: Bound, purse: Purse) -> Fault:
    """The same fault, and what could be afforded."""
    if fault.kind != "insufficient_quota" or purse.refusal is None:
        return fault
    left = purse.free + purse.refusal.most
    tokens = affordable_tokens(bound, left)
    advice = f"{dollars(left)} would pay for it with max_tokens of {tokens:,} or less." if tokens else "A shorter request would cost less."
    return Fault(fault.kind, f"{fault.message} {advice}", retry_after_s=fault.retry_after_s)
