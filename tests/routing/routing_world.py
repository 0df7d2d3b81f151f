"""A world for policies: a view whose facts are given, and a driver that plays out scripted outcomes."""

import hashlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

from shoal.core.answer import Answer, Choice
from shoal.core.attempt import Answered, Failed, Late, Outcome, Try
from shoal.core.conversation import Text
from shoal.core.errors import Fault
from shoal.core.health import Health
from shoal.core.models import Deployment
from shoal.core.money import Price

Plan = Generator[Try | None, Outcome, None]


class World:
    """A view. `draw` is a number for all draws, or else they come from `seed` and the key."""

    def __init__(
        self,
        health: dict[str, Health] | None = None,
        *,
        draw: float | None = None,
        seed: object = 0,
        tokens: int = 100,
        max_tokens: int | None = None,
        session: str | None = None,
        metadata: dict[str, str] | None = None,
        hedges: bool = True,
    ) -> None:
        self.known = health or {}
        self.draw, self.seed, self.counted = draw, seed, tokens
        self.max_tokens, self.session, self.metadata, self.hedges = max_tokens, session, metadata or {}, hedges

    def uniform(self, key: str) -> float:
        """The draw for a key."""
        if self.draw is not None:
            return self.draw
        digest = hashlib.blake2b(f"{self.seed}/{key}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "big") >> 11) / 2**53

    def health(self, deployment: Deployment) -> Health:
        """What is known of a deployment."""
        return self.known.get(deployment.id, Health())

    def tokens(self) -> int:
        """The request's input."""
        return self.counted

    def may_hedge(self) -> bool:
        """Whether the budget has room."""
        return self.hedges


def deployment(name: str, usd: float | None = None, model: str = "m", **fields: Any) -> Deployment:
    """A deployment of the provider `name`, at USD per million tokens of input and of output."""
    price = None if usd is None else Price(round(usd * 1_000_000), round(usd * 1_000_000))
    return Deployment(**{"id": f"{name}/{model}", "model": model, "provider": name, "upstream_model": model, "price": price, **fields})


def deployments(count: int) -> list[Deployment]:
    """Distinct deployments: p0, p1, ..."""
    return [deployment(f"p{number}") for number in range(count)]


def providers(order: Sequence[Deployment]) -> list[str]:
    """Whose deployments these are."""
    return [one.provider for one in order]


def failing(*faults: Fault | str) -> Callable[[int], Outcome]:
    """These faults in turn, the last one for ever."""
    known = [Fault(one, "x") if isinstance(one, str) else one for one in faults]
    return lambda number: Failed(known[min(number, len(known) - 1)])


def play(plan: Plan, outcome: Callable[[int], Outcome], limit: int = 1000) -> list[Try]:
    """The tries of a plan in which one runs at a time; `outcome` says how the one of a number ends."""
    tries: list[Try] = []
    wish = next(plan)
    while len(tries) < limit:
        assert wish is not None
        tries.append(wish)
        try:
            wish = plan.send(outcome(len(tries) - 1))
        except StopIteration:
            return tries
    raise AssertionError("the plan does not end")


def asked(plan: Plan, outcome: Callable[[int], Outcome]) -> list[str]:
    """Whose deployments a plan asks."""
    return [wish.deployment.provider for wish in play(plan, outcome)]


def said(text: str = "words", **fields: Any) -> Answered:
    """A held answer."""
    return Answered(Answer(choices=(Choice((Text(text),), **fields),)))


def late(wish: Try | None) -> Late:
    """A try is late."""
    assert wish is not None
    assert wish.late_after_s is not None
    return Late(wish.deployment, wish.late_after_s)
