"""What shoal.net.server and shoal.net.host rely on in uvicorn. A release that changes any of it must fail here first, and say where."""

import ast
import asyncio
import inspect
import signal
import textwrap
from collections import deque
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(scope["path"]))]})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1234), "sockname": ("127.0.0.1", 80)})
        self.written = b""
        self.closed = False
        self.paused = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Accepted."""


@pytest.fixture
async def state() -> ServerState:
    """A server's state with a Date header in it."""
    found = ServerState()
    found.default_headers = [(b"date", b"today")]
    return found


@pytest.fixture
async def protocol(state: ServerState) -> HttpToolsProtocol:
    """uvicorn's own protocol, connected."""
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
    made = HttpToolsProtocol(config, state, {}, asyncio.get_running_loop())
    made.connection_made(Transport())
    return made


def called(function: Any) -> list[str]:
    """What a function calls, in the order of its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [ast.unparse(node.func) for node in sorted(calls, key=lambda node: (node.lineno, node.col_offset))]


async def test_a_protocol_is_made_with_these_arguments(state: ServerState) -> None:
    assert list(inspect.signature(HttpToolsProtocol.__init__).parameters) == ["self", "config", "server_state", "app_state", "_loop"]
    source = inspect.getsource(uvicorn.Server.startup)
    for keyword in ("config=config", "server_state=self.server_state", "app_state=self.lifespan.state", "_loop=_loop"):
        assert keyword in source
    assert isinstance(state.tasks, set)
    assert isinstance(state.connections, set)


async def test_a_partial_is_taken_for_a_protocol_class() -> None:
    def made(*_: object, **__: object) -> None: ...

    config = uvicorn.Config(app, http=made, lifespan="off", log_config=None)  # type: ignore[arg-type]
    config.load()
    assert config.http_protocol_class is made


async def test_a_connection_has_these_parts(protocol: HttpToolsProtocol, state: ServerState) -> None:
    assert protocol in state.connections
    assert protocol.connections is state.connections
    assert protocol.tasks is state.tasks
    assert protocol.server_state is state
    assert protocol.client == ("192.0.2.1", 1234)
    assert protocol.cycle is None
    assert protocol.app is protocol.config.loaded_app
    assert isinstance(protocol.parser, httptools.HttpRequestParser)
    assert isinstance(protocol.pipeline, deque)
    assert callable(protocol.flow.pause_reading)
    assert callable(protocol.flow.resume_reading)
    assert isinstance(protocol.transport, Transport)


async def test_the_parser_calls_us_in_this_order() -> None:
    seen: list[str] = []

    class Ears:
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda *_: seen.append(name)

    parser = httptools.HttpRequestParser(Ears())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    parser.feed_data(b"POST /x HTTP/1.1\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nt: u\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    seen = [name for name in seen if "chunk" not in name and name != "on_status"]
    assert seen == [
        "on_message_begin", "on_url", "on_header", "on_header", "on_headers_complete", "on_body", "on_header", "on_message_complete",
        "on_message_begin", "on_url", "on_headers_complete", "on_message_complete",
    ]  # fmt: skip


async def test_an_upgrade_stops_the_parser_where_the_head_ends() -> None:
    class Deaf:
        """Hears nothing."""

    data = b"POST /x HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(httptools.HttpParserUpgrade) as stop:
        httptools.HttpRequestParser(Deaf()).feed_data(data)
    assert data[stop.value.args[0] :] == b"{}"


async def test_a_callback_that_fails_is_a_parser_error() -> None:
    """Which is why nothing below a callback may raise: it would be told to the caller as bad HTTP."""

    class Broken:
        def on_url(self, url: bytes) -> None:
            raise RuntimeError

    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(Broken()).feed_data(b"GET / HTTP/1.1\r\n\r\n")


async def test_requests_that_are_not_ours_are_served_from_these_callbacks(protocol: HttpToolsProtocol, state: ServerState) -> None:
    """`_hand_to_app` calls on_message_begin again, fills url and headers, then on_headers_complete: uvicorn does the rest."""
    protocol.on_message_begin()
    protocol.url = b"/cold?x=y"
    protocol.headers.extend([(b"host", b"x")])
    assert protocol.scope["headers"] is protocol.headers
    assert protocol.expect_100_continue is False
    protocol.parser.feed_data(b"GET /cold HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.gather(*state.tasks)
    transport = protocol.transport
    assert isinstance(transport, Transport)
    assert transport.written.startswith(b"HTTP/1.1 200 OK\r\ndate: today\r\n")
    assert protocol.cycle.response_complete
    assert protocol.cycle.keep_alive is True
    assert not state.tasks


async def test_pipelined_requests_wait_at_the_left_of_a_deque(protocol: HttpToolsProtocol, state: ServerState) -> None:
    transport = protocol.transport
    assert isinstance(transport, Transport)
    protocol.data_received(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(3)))
    assert transport.paused
    assert [cycle.scope["path"] for cycle, _ in protocol.pipeline] == ["/2", "/1"]
    assert protocol.cycle.scope["path"] == "/2"  # the last one read, not the one being answered
    while state.tasks:
        await asyncio.wait(list(state.tasks))
    assert [part[-2:] for part in transport.written.split(b"HTTP/1.1 200")[1:]] == [b"/0", b"/1", b"/2"]
    assert not transport.paused


async def test_the_hooks_that_we_replace_are_the_ones_that_are_called() -> None:
    assert "self.send_400_response" in called(HttpToolsProtocol.data_received)
    after = {"self._start_asgi_task", "self.pipeline.pop", "self.flow.resume_reading", "self.transport.is_closing"}
    assert after <= set(called(HttpToolsProtocol.on_response_complete))
    assert "on_response=self.on_response_complete" in inspect.getsource(HttpToolsProtocol.on_headers_complete)
    assert inspect.signature(HttpToolsProtocol._start_asgi_task).parameters.keys() == {"self", "cycle", "app"}
    for name in ("pause_writing", "resume_writing", "eof_received"):
        assert callable(getattr(HttpToolsProtocol, name))


async def test_a_lost_connection_is_forgotten(protocol: HttpToolsProtocol, state: ServerState) -> None:
    """With `cycle` None, as ours leaves it, uvicorn touches nothing but its own."""
    protocol.connection_lost(None)
    assert protocol not in state.connections
    assert protocol.parser is None


async def test_a_shutdown_looks_at_these_two_of_a_cycle(protocol: HttpToolsProtocol) -> None:
    class Cycle:
        response_complete = False
        keep_alive = True

    cycle = Cycle()
    protocol.cycle = cycle  # type: ignore[assignment]
    protocol.shutdown()
    assert cycle.keep_alive is False
    cycle.response_complete = True
    protocol.shutdown()
    assert protocol.transport.is_closing()


async def test_the_server_ticks_ten_times_a_second_and_makes_new_headers_each_second() -> None:
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, server_header=False))
    server.config.load()
    assert "asyncio.sleep(0.1)" in inspect.getsource(uvicorn.Server.main_loop)
    assert await server.on_tick(0) is False
    first = server.server_state.default_headers
    assert [name for name, _ in first] == [b"date"]
    assert await server.on_tick(1) is False
    assert server.server_state.default_headers is first
    await server.on_tick(10)
    assert server.server_state.default_headers is not first  # replaced, never changed: its identity says whether it is new
    server.should_exit = True
    assert await server.on_tick(11) is True


async def test_signals_come_to_handle_exit_and_are_raised_again_only_if_captured() -> None:
    assert list(inspect.signature(uvicorn.Server.handle_exit).parameters) == ["self", "sig", "frame"]
    source = inspect.getsource(uvicorn.Server.capture_signals)
    assert "signal.signal(sig, self.handle_exit)" in source
    assert "self._captured_signals" in source
    server = uvicorn.Server(uvicorn.Config(app))
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert not server.force_exit


async def test_a_shutdown_closes_listeners_asks_connections_waits_and_cancels() -> None:
    order = called(uvicorn.Server.shutdown)
    steps = ["server.close", "connection.shutdown", "self._wait_tasks_to_complete", "t.cancel"]
    assert [one for one in order if one in steps] == steps
    source = inspect.getsource(uvicorn.Server._wait_tasks_to_complete)
    for name in ("self.server_state.connections", "self.server_state.tasks", "self.force_exit"):
        assert name in source
    assert "timeout=self.config.timeout_graceful_shutdown" in inspect.getsource(uvicorn.Server.shutdown)


async def test_startup_takes_sockets_and_sets_started() -> None:
    assert list(inspect.signature(uvicorn.Server.startup).parameters) == ["self", "sockets"]
    assert "self.started = True" in inspect.getsource(uvicorn.Server.startup)
    assert called(uvicorn.Server._serve).index("self.startup") < called(uvicorn.Server._serve).index("self.main_loop")
