"""What is kept of a request and its answer: an entry of the cache, a response that can be continued, a completion, or nothing but the bill.

Nothing is kept before the answer is settled. What can be continued, or was asked to be stored, is in the store before the caller has the
last byte, so that the next request finds it wherever it arrives.
"""

import time

import msgspec

from shoal.core.answer import fold, split
from shoal.core.attempt import Attempt
from shoal.core.usage import Usage
from shoal.gateway import answer, cache, receipt, retention, scopes
from shoal.gateway.bodies import Bodies, wants_storing
from shoal.gateway.bridge import Translated, choose
from shoal.gateway.call import Call
from shoal.gateway.settle import Settlement
from shoal.routing.routes import find_route
from shoal.storage.bodies import MOST_BYTES
from shoal.wire import sse
from shoal.wire.openai_responses import envelope, history

_ENDS = (b'"response.completed"', b'"response.incomplete"')


class _Event(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw(b"")


_event = msgspec.json.Decoder(_Event)


class Keeping:
    """What is to be kept of one answer, while it passes."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.key: bytes | None = None
        self.ttl_s = 0
        self.items: list[msgspec.Raw] | None = None  # the input items of a response that is to be stored
        self.previous: str | None = None
        self.bodies: Bodies | None = None  # where the project, or the caller, wants what is asked and answered kept
        self._recording = cache.Recording()
        self._said = cache.Recording(MOST_BYTES)
        self._end = b""

    def pass_by(self, data: bytes, out: bytes) -> None:
        """A piece of a stream: from the upstream, and what the caller gets of it."""
        if self.key is not None:
            self._recording.feed(data)
        if self.bodies is not None:
            self._said.feed(out)
        if self.items is not None and any(mark in out for mark in _ENDS):
            self._end = out

    async def finish_stream(self, attempt: Attempt, last: bytes) -> None:
        """The stream has ended well; `last` is what ends it for the caller."""
        body = self._recording.body()
        if body is not None:
            self._put(attempt, body, stream=True)
        if (said := self._said.body()) is not None:
            await self.keep(said + last)
        if self.items is not None:
            await self._store(_last_response(last if any(mark in last for mark in _ENDS) else self._end))

    async def finish(self, attempt: Attempt, bodies: tuple[bytes, ...], out: bytes) -> None:
        """A whole answer is settled; `out` is what the caller gets."""
        if len(bodies) == 1:
            self._put(attempt, bodies[0], stream=False)
        await self.keep(out)
        if self.items is not None:
            await self._store(out)

    async def keep(self, said: bytes) -> None:
        """Keep what the caller gets, where that is wanted; a stream is its events."""
        if self.bodies is None:
            return
        if wants_storing(self._call):
            await self.bodies.keep(self._call, said)
        else:
            self.bodies.add(self._call, said)

    def _put(self, attempt: Attempt, body: bytes, stream: bool) -> None:
        if self.key is not None and len(self._call.attempts) == 1:  # an answer of two upstreams is nobody's own
            stored = cache.Stored(body, stream, attempt.deployment, attempt.usage or Usage())
            self._call.world.cache.put(self.key, stored, self.ttl_s, time.monotonic())

    async def _store(self, response: bytes) -> None:
        responses = self._call.world.responses
        if response and self.items is not None and responses is not None:
            await responses.save(self._call.principal.key_id, response, self.items, self.previous, self._call.request.user[:512])


def _last_response(events: bytes) -> bytes:
    for event in reversed(sse.Splitter().split(events)):
        data = sse.data_of(event)
        if data is not None and any(mark in data for mark in _ENDS):
            return bytes(_event.decode(data).response)
    return b""


def concerns(call: Call) -> bool:
    """Whether anything about keeping is asked for, or usual; most requests are through here in no time."""
    headers = call.exchange.headers
    return (
        cache.HEADER in headers
        or retention.HEADER in headers
        or call.principal.terms.retention is not None
        or call.endpoint.name == "responses"
        or _wanted(call) is not None
        or (bool(call.world.routes) and find_route(call.world.routes, call.request.model) is not None)
    )


def _wanted(call: Call) -> Bodies | None:
    """Where the bodies go, of a project that wants them kept, or of a caller who wants this chat stored."""
    bodies = call.world.bodies
    return bodies if bodies is not None and (call.principal.project_id in bodies.projects or wants_storing(call)) else None


async def prepare(call: Call) -> cache.Hit | None:
    """Find out what is to be kept, fill in what was kept before, and look for an answer that is there already. Errors: Fault."""
    headers = call.exchange.headers
    if retention.wish(headers, call.principal.terms.retention):
        call.keeps = False
    if call.endpoint.name == "responses":
        await _continue(call)
    if call.keeps and (bodies := _wanted(call)) is not None:
        call.keeping = call.keeping or Keeping(call)
        call.keeping.bodies = bodies
    route = find_route(call.world.routes, call.request.model) if call.world.routes else None
    if cache.HEADER not in headers and (route is None or route.cache_s is None):
        return None
    wish = cache.wish(headers, None if route is None else route.cache_s)
    if wish is None or not call.keeps:
        return None
    return _look_up(call, wish)


async def _continue(call: Call) -> None:
    """The items of earlier turns become the request's own input."""
    responses, request = call.world.responses, envelope.read(call.request.body)
    if responses is None:
        return
    key_id = call.principal.key_id
    earlier = await responses.chain(request.previous, key_id) if request.previous else []
    named = history.references(request)
    found = await responses.items(named, key_id) if named else {}
    if request.store and call.keeps:
        call.keeping = keeping = Keeping(call)
        keeping.items, keeping.previous = history.input_items(request), request.previous
    if earlier or named:
        call.take(call.endpoint.read(history.extend(request, earlier, found).body, None, None))


def _look_up(call: Call, wish: cache.Wish) -> cache.Hit | None:
    request, endpoint, fields = call.request, call.endpoint, call.request.fields
    names = (request.model, *(fields.models or ()), *(fields.fallbacks or ()))
    routes = [route for name in names if (route := find_route(call.world.routes, name)) is not None]
    key = cache.cache_key(
        call.principal.key_id,
        endpoint.name if endpoint.kind == "chat" else f"{endpoint.name} {request.stream}",  # only a chat's forms are made of each other
        endpoint.dialect,
        request.body,
        model=request.named or "",
        headers=call.exchange.headers,
        routed_by_metadata=any(route.by_metadata for route in routes),
    )
    hit = call.world.cache.look_up(key, time.monotonic())
    call.more_headers = cache.describe(hit)
    if hit is not None and call.principal.scoped:
        scopes.within(call, (hit.stored.deployment,))  # which may have changed since
    if hit is None:
        keeping = call.keeping or Keeping(call)
        keeping.key, keeping.ttl_s = key, wish.ttl_s
        call.keeping = keeping
    return hit


async def give(call: Call, hit: cache.Hit) -> None:
    """Answer from the cache, in the form that is asked for. Errors: Fault."""
    stored = hit.stored
    call.free = True
    attempt = Attempt(stored.deployment, call.started_at)
    way = choose(call, stored.deployment)
    if stored.stream == call.request.stream:
        if stored.stream:
            await answer.replay(call, attempt, way, stored.body)
        else:
            await answer.give(call, attempt, way, (stored.body,))
        return
    call.attempt = attempt
    call.first_byte_at = time.perf_counter()
    both, reader = Translated(call, stored.deployment), way.reader()  # read as it came in, written as it is wished for
    said = fold([*reader.feed(stored.body), *reader.close()]) if stored.stream else way.read(stored.body)
    settlement = Settlement(call)
    if call.request.stream:
        writer = both.writer()
        out = writer.feed(list(split(said)))
        out += writer.close(*settlement(said.usage))
        if call.keeping is not None:
            await call.keeping.keep(out)
        call.exchange.start(200, answer.stream_lines(call) + receipt.header_lines(call, None))
        call.exchange.end(out)
    else:
        body = both.write(said, *settlement(said.usage))
        if call.keeping is not None:
            await call.keeping.keep(body)
        call.exchange.answer(200, answer.JSON + receipt.header_lines(call, settlement.cost), body)
