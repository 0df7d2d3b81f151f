"""Callers' connections: pipelining, cuts, half-closed and slow sockets, framing tricks; the server answers or closes, and serves on."""

import itertools
import json
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caller import CHAT, Answer, Caller, chat, get, request
from installation import Installation, wait_for
from upstream import STREAM_HEAD, Line, Received, Upstream, completion, delta, event, says, whole

GOOD = chat("up/connections")


def chunks(body: bytes, size: int = 7) -> bytes:
    """A chunked body."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def in_chunks(shoal: Installation, body: bytes) -> bytes:
    """A request with a chunked body."""
    return request(shoal.key, b"", headers={"content-length": "", "transfer-encoding": "chunked"}) + chunks(body)


def plain(answer: Answer) -> tuple[int, str, object]:
    """What of an answer does not depend on the moment."""
    return answer.status, answer.headers["content-type"], answer.json.get("choices") or answer.json.get("error") or answer.json


def mixed(shoal: Installation) -> list[bytes]:
    """Requests of all sorts, each of which leaves the connection usable."""
    return [
        request(shoal.key, GOOD),
        get(shoal.key, "/healthz"),
        in_chunks(shoal, json.dumps(GOOD).encode()),
        request(shoal.key, {**GOOD, "messages": "hi"}),
        request("sk-other", GOOD),
        get(shoal.key, "/nowhere"),
        request(shoal.key, {**GOOD, "model": "no-such-model"}),
        request(shoal.key, b"", method="PUT"),
        get(shoal.key, "/v1/models/nothing"),
        request(shoal.key, GOOD),
    ]


@pytest.fixture(scope="module")
def expected(shoal: Installation) -> list[tuple[int, str, object]]:
    """The answers to `mixed`, asked one by one."""
    found = []
    for one in mixed(shoal):
        with Caller(shoal.port) as caller:
            caller.send(one)
            found.append(plain(caller.answer()))
    assert [status for status, _, _ in found] == [200, 200, 200, 400, 401, 404, 404, 405, 404, 200]
    return found


def test_pipelined_requests_are_answered_in_order(shoal: Installation, expected: list[object]) -> None:
    with Caller(shoal.port) as caller:
        for _ in range(3):
            caller.send(b"".join(mixed(shoal)))
            assert [plain(caller.answer()) for _ in expected] == expected


@given(cuts=st.lists(st.integers(0, 10_000), max_size=40), crlf=st.booleans())
@settings(max_examples=40)
def test_cuts_change_nothing(shoal: Installation, expected: list[object], cuts: list[int], crlf: bool) -> None:
    data = b"".join(one + b"\r\n" * crlf for one in mixed(shoal))
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    with Caller(shoal.port) as caller:
        for start, end in itertools.pairwise(edges):
            caller.send(data[start:end])
        assert [plain(caller.answer()) for _ in expected] == expected


@given(data=st.data())
@settings(max_examples=150)
def test_damaged_requests_do_no_damage(shoal: Installation, data: st.DataObject) -> None:
    """Bytes changed, lost and added anywhere: whatever comes back is HTTP with an error of our shape, and the next caller is served."""
    whole = bytearray(b"".join(data.draw(st.permutations(mixed(shoal)), "order")[:3]))
    for _ in range(data.draw(st.integers(1, 4), "changes")):
        at = data.draw(st.integers(0, len(whole) - 1), "at")
        end = at + data.draw(st.integers(0, 5), "lost")
        whole[at:end] = data.draw(st.binary(max_size=5) | st.sampled_from([b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"\0", b": "]), "added")
    with Caller(shoal.port) as caller:
        caller.send(bytes(whole))
        caller.socket.shutdown(socket.SHUT_WR)
        while not (answer := caller.answer()).cut:
            assert answer.status in range(200, 432)
            if answer.status >= 400 and answer.body:
                assert answer.error["code"]
    with Caller(shoal.port, shoal.key) as caller:
        assert caller.ask(GOOD).status == 200


def test_a_request_may_come_byte_by_byte(shoal: Installation, expected: list[object]) -> None:
    for index in (0, 2, 3):
        with Caller(shoal.port) as caller:
            for byte in mixed(shoal)[index]:
                caller.send(bytes([byte]))
            assert plain(caller.answer()) == expected[index]


def test_a_large_body_does_not_count_as_the_next_head(shoal: Installation) -> None:
    """The end of a body and the beginning of the next head may come in one read."""
    large = request(shoal.key, {**GOOD, "x": "a" * 200_000})
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(large + request(shoal.key, GOOD)[:20])
        assert caller.answer().status == 200
        caller.send(request(shoal.key, GOOD)[20:])
        assert caller.answer().status == 200


def test_a_bad_request_after_a_good_one_ends_the_connection_after_the_good_answer(shoal: Installation) -> None:
    for bad in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\x02\x00"):
        with Caller(shoal.port) as caller:
            caller.send(request(shoal.key, GOOD) + request(shoal.key, GOOD) + bad)
            assert [caller.answer().status for _ in range(2)] == [200, 200]
            last = caller.answer()
            assert last.cut or last.status == 400
            assert caller.closed()


def test_a_bad_body_framing_after_a_good_request_is_told_in_its_turn(shoal: Installation) -> None:
    with Caller(shoal.port) as caller:
        broken = request(shoal.key, b"", headers={"content-length": "", "transfer-encoding": "chunked"}) + b"zz\r\n"
        caller.send(request(shoal.key, GOOD) + broken)
        assert caller.answer().status == 200
        assert caller.answer().error["code"] == "bad_http"
        assert caller.closed()


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\nNONSENSE\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nspace before : x\r\n\r\n",
        b"GET / HTTP/1.1\r\n: no name\r\n\r\n",
        b"GET / HTTP/1.1\r\nx-nul: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nx-cr: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: first\r\n\r\n",
        b"GE\x00T / HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_what_is_not_http_is_told_so_and_closed(shoal: Installation, data: bytes) -> None:
    with Caller(shoal.port) as caller:
        caller.send(data)
        answer = caller.answer()
        assert (answer.status, answer.error["code"]) == (400, "bad_http")
        assert answer.headers["connection"] == "close"
        assert caller.closed()


BODY = json.dumps(GOOD).encode()
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        "content-length: {n}\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: {n}",
        "content-length: {n}\r\ncontent-length: 3",
        "content-length: {n}\r\ncontent-length: {n}",
        "content-length: {n}, {n}",
        "content-length: +{n}",
        "content-length: -1",
        "content-length: 0x10",
        "content-length: {n} 1",
        "content-length:",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding:\x0bchunked",
        "transfer-encoding : chunked",
    ],
)
def test_ambiguous_framing_is_refused_and_closed(shoal: Installation, framing: str) -> None:
    """Whatever of it a proxy before us believes: nothing that follows is taken for a request."""
    with Caller(shoal.port) as caller:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {shoal.key}\r\n{framing.format(n=len(BODY))}\r\n\r\n"
        caller.send(head.encode("latin-1") + BODY + SMUGGLED)
        answer = caller.answer()
        assert (answer.status, answer.error["code"]) == (400, "bad_http")
        assert caller.closed()


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"f" * 17 + b"\r\n",
        b"1 \r\na\r\n",
        b"\r\n",
        b"1;" + b"\x00" + b"\r\na\r\n",
        b"0\r\nno colon\r\n\r\n",
    ],
)
def test_broken_chunks_are_refused_and_closed(shoal: Installation, body: bytes) -> None:
    with Caller(shoal.port) as caller:
        caller.send(request(shoal.key, b"", headers={"content-length": "", "transfer-encoding": "chunked"}) + body + SMUGGLED)
        answer = caller.answer()
        assert (answer.status, answer.error["code"]) == (400, "bad_http")
        assert caller.closed()


def test_a_body_beyond_its_length_is_the_next_request(shoal: Installation) -> None:
    with Caller(shoal.port) as caller:
        caller.send(request(shoal.key, GOOD) + b"}}}\r\n\r\n")
        assert caller.answer().status == 200
        last = caller.answer()
        assert last.cut or last.status == 400
        assert caller.closed()


def test_trailers_and_extensions_are_read_over(shoal: Installation) -> None:
    with Caller(shoal.port) as caller:
        head = request(shoal.key, b"", headers={"content-length": "", "transfer-encoding": "Chunked"})
        caller.send(head + b"%x;name=value\r\n" % len(BODY) + BODY + b"\r\n0\r\nauthorization: Bearer sk-other\r\nx-b: c\r\n\r\n")
        assert caller.answer().status == 200
        caller.send(request(shoal.key, GOOD))
        assert caller.answer().status == 200


@pytest.mark.parametrize("extra", ["", "connection: keep-alive\r\n"])
def test_http_1_0_is_answered_and_closed(shoal: Installation, upstream: Upstream, extra: str) -> None:
    for more in ({}, {"stream": True}):
        with Caller(shoal.port) as caller:
            body = json.dumps({**GOOD, **more}).encode()
            head = f"POST {CHAT} HTTP/1.0\r\nauthorization: Bearer {shoal.key}\r\n{extra}content-length: {len(body)}\r\n\r\n"
            caller.send(head.encode() + body)
            answer = caller.answer()
            assert answer.status == 200
            assert "transfer-encoding" not in answer.headers
            assert not more or answer.body.endswith(b"data: [DONE]\n\n")
            assert caller.closed()


def test_connection_close_is_respected(shoal: Installation) -> None:
    for more in ({}, {"stream": True}):
        with Caller(shoal.port, shoal.key) as caller:
            answer = caller.ask({**GOOD, **more}, headers={"connection": "close"})
            assert (answer.status, answer.headers["connection"], answer.cut) == (200, "close", False)
            assert caller.closed()


@pytest.mark.parametrize(
    "upgrade",
    [
        {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQAAP__"},
        {"connection": "upgrade", "upgrade": "websocket"},
    ],
)
def test_upgrades_are_answered_as_http_1_1(shoal: Installation, upgrade: dict[str, str]) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        assert caller.ask(GOOD, headers=upgrade).status == 200
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(request(shoal.key, b"", "/v1/models", {"content-length": "", **upgrade}, "GET"))
        assert caller.answer().status == 200
    with Caller(shoal.port) as caller:
        caller.send(b"CONNECT example.test:443 HTTP/1.1\r\nhost: example.test:443\r\n\r\n")
        assert caller.answer().status in (400, 404)


def test_a_caller_who_half_closes_is_gone(shoal: Installation, upstream: Upstream) -> None:
    """After its end of file a caller cannot be told from one that has left; it gets its answer or a closed connection."""
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(request(shoal.key, GOOD))
        caller.socket.shutdown(socket.SHUT_WR)
        answer = caller.answer()
        assert answer.status == 200 or answer.cut
        assert caller.closed()
    with Caller(shoal.port) as caller:
        caller.send(request(shoal.key, GOOD)[:-5])
        caller.socket.shutdown(socket.SHUT_WR)
        assert caller.closed()


def test_slow_callers_are_told_and_closed(shoal: Installation) -> None:
    """All at once: a silent connection, a head that trickles, a body that trickles, a body that stops, an idle connection."""
    body = request(shoal.key, GOOD)
    with ExitStack() as stack:

        def start(data: bytes) -> Caller:
            caller = stack.enter_context(Caller(shoal.port, shoal.key))
            caller.send(data)
            return caller

        silent, stopped_head, trickling_head = start(b""), start(b"POST /v1/chat"), start(b"GET /healthz HTTP/1.1\r\n")
        stopped_body, trickling_body = start(body[:-9]), start(request(shoal.key, b"", headers={"content-length": "100000"}))
        idle, refused = start(body), start(request("sk-other", b"", headers={"content-length": "100"}))
        assert idle.answer().status == 200

        ended = threading.Event()

        def trickle() -> None:
            while not ended.wait(0.05):
                for one, data in ((trickling_head, b"x-a: b\r\n"), (trickling_body, b" ")):
                    try:
                        one.socket.send(data)
                    except OSError:
                        continue

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            for caller in (stopped_head, trickling_head, stopped_body, trickling_body, refused):
                answer = caller.answer()
                assert (answer.status, answer.error["code"]) == (408, "request_timeout")
            for caller in (silent, idle, stopped_head, stopped_body, refused):
                assert caller.closed()
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(("streaming", "begun"), [(False, False), (True, False), (True, True)])
def test_a_caller_who_leaves_is_noticed_at_once(shoal: Installation, upstream: Upstream, streaming: bool, begun: bool) -> None:
    """The upstream's connection is closed within 100 ms, before the answer has begun and in the middle of a stream."""
    gone: list[float] = []

    def play(line: Line, request: Received) -> None:
        if begun:
            line.send(STREAM_HEAD)
            line.chunk(delta("Hel"))
        gone.append(line.wait_gone())
        line.close()

    model = f"leaves-{streaming}-{begun}"
    upstream.play(model, play)
    waits = []
    for turn in range(1, 6):
        with Caller(shoal.port) as caller:
            caller.send(request(shoal.key, chat(f"up/{model}", stream=streaming)))
            wait_for(lambda turn=turn: len(upstream.received(model)) == turn, "the request")
            if begun:
                assert caller.socket.recv(10)
        left = time.monotonic()
        wait_for(lambda turn=turn: len(gone) == turn, "the upstream's notice", 5)
        waits.append(gone[-1] - left)
    assert min(waits) < 0.1  # a busy machine may be late, but not always


def test_a_caller_who_pipelines_and_leaves_is_noticed(shoal: Installation, upstream: Upstream) -> None:
    """With another request waiting behind it, a stream still belongs to its caller, who can break it off and slow it down."""
    gone: list[float] = []

    def play(line: Line, request: Received) -> None:
        line.send(STREAM_HEAD)
        try:
            while True:
                line.socket.sendall(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        except OSError:
            gone.append(time.monotonic())
        line.close()

    upstream.play("pipeline-leaves", play)
    with Caller(shoal.port) as caller:
        caller.send(request(shoal.key, chat("up/pipeline-leaves", stream=True)) + request(shoal.key, GOOD))
        while len(caller.unread) < 5_000_000:
            caller.unread += caller.socket.recv(1 << 20)
        assert not gone
    wait_for(lambda: gone, "the upstream's notice")


PIECE = delta("x" * 60_000)


def test_a_slow_reader_stops_the_upstream_and_costs_no_memory(shoal: Installation, upstream: Upstream) -> None:
    """Readers who do not read: what is under way stays bounded, with one request and with another pipelined behind it."""
    sent: dict[str, int] = {}
    count = 1000

    def play(line: Line, request: Received) -> None:
        model = request.json["model"]
        sent[model] = 0
        line.send(STREAM_HEAD)
        while sent[model] < count:
            try:
                line.socket.sendall(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            except OSError:
                return
            sent[model] += 1
        line.chunk(delta(None, "stop"))
        line.send(b"0\r\n\r\n")

    models = [f"slow-reader-{n}" for n in range(3)]
    for model in models:
        upstream.play(model, play)
    worker = shoal.worker()
    before = worker.memory_info().rss
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(shoal.port, receive_buffer=65536)) for _ in models]
        for number, (caller, model) in enumerate(zip(callers, models, strict=True)):
            caller.send(request(shoal.key, chat(f"up/{model}", stream=True)) + (request(shoal.key, GOOD) if number else b""))

        def stuck() -> bool:
            seen = dict(sent)
            time.sleep(0.3)
            return len(seen) == len(models) and seen == sent

        wait_for(stuck, "the end of the flow")
        assert max(sent.values()) < count / 2
        assert worker.memory_info().rss - before < 40_000_000
        answers = [caller.answer() for caller in callers[:2]]  # now they read
        for answer in answers:
            assert not answer.cut
            assert len(answer.body) > count * len(PIECE)
            assert answer.body.endswith(b"data: [DONE]\n\n")
        assert callers[1].answer().status == 200
    assert worker.memory_info().rss - before < 60_000_000


def test_a_large_answer_that_is_not_read_holds_up_the_next_stream(shoal: Installation, upstream: Upstream) -> None:
    """A connection that is full when a stream begins on it stays paused from the stream's first piece on."""
    upstream.play("large-first", says(whole(completion("x" * 20_000_000))))
    sent = [0]

    def play(line: Line, request: Received) -> None:
        line.send(STREAM_HEAD + b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        while sent[0] < 1000:
            try:
                line.socket.sendall(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            except OSError:
                return
            sent[0] += 1

    upstream.play("stream-second", play)
    with Caller(shoal.port, receive_buffer=65536) as caller:
        caller.send(request(shoal.key, chat("up/large-first")) + request(shoal.key, chat("up/stream-second", stream=True)))
        wait_for(lambda: sent[0], "the stream")

        def stuck() -> bool:
            seen = sent[0]
            time.sleep(0.3)
            return seen == sent[0]

        wait_for(stuck, "the end of the flow")
        assert sent[0] < 500


def test_events_reach_the_caller_as_they_come(shoal: Installation, upstream: Upstream) -> None:
    seen = threading.Event()

    def play(line: Line, request: Received) -> None:
        line.send(STREAM_HEAD)
        line.chunk(delta("first"))
        assert seen.wait(10)
        line.chunk(delta("second", "stop"))
        line.chunk(event(b"[DONE]"))
        line.send(b"0\r\n\r\n")

    upstream.play("as-they-come", play)
    with Caller(shoal.port) as caller:
        caller.send(request(shoal.key, chat("up/as-they-come", stream=True)))
        while b"first" not in caller.unread:
            caller.unread += caller.socket.recv(65536)
        seen.set()
        assert caller.answer().events[-1] == b"[DONE]"


def test_requests_leave_no_memory_behind(shoal: Installation) -> None:
    batch = b"".join(mixed(shoal)) + request(shoal.key, {**GOOD, "stream": True})
    worker = shoal.worker()
    sizes = []
    for _ in range(6):
        with Caller(shoal.port) as caller:
            for _ in range(100):
                caller.send(batch)
                for _ in range(11):
                    caller.answer()
        sizes.append(worker.memory_info().rss)
    # what is leaked is leaked in every round; what settles (pools, caches, the allocator's own) stops growing
    assert min(after - before for before, after in itertools.pairwise(sizes)) < 500_000, sizes


def test_the_server_is_as_it_was(shoal: Installation) -> None:
    """After all of that: the same process answers, and holds little more than it began with."""
    with Caller(shoal.port, shoal.key) as caller:
        assert caller.ask(GOOD).status == 200
    assert "starting it again" not in shoal.log()
    assert shoal.worker().memory_info().rss < 250_000_000
