"""What the command line says when a server answers, refuses, breaks off, or is not there."""

import socket
from typing import Any

import pytest

from shoal.cli.endpoint import Endpoint, Unavailable

KEY = "sk-shoal-test"
BODY = {"model": "minnow", "messages": [{"role": "user", "content": "?"}], "stream": True}


def text(events: Any) -> str:
    return "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_a_url_may_end_in_v1_or_not(script: Any, suffix: str) -> None:
    assert text(Endpoint(script.url + suffix, KEY).stream("/chat/completions", BODY)) == "Paris."


def test_models_are_listed(script: Any) -> None:
    assert [row["id"] for row in Endpoint(script.url).get("/models")["data"]] == ["minnow", "llama"]


def test_a_refused_key_says_how_to_make_one(script: Any) -> None:
    with pytest.raises(Unavailable, match=r"not known\.\n.*shoal keys create"):
        Endpoint(script.url, "wrong").post("/chat/completions", BODY)


def test_nobody_there_says_how_to_start_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="start a server with `shoal serve`"):
        Endpoint(f"http://127.0.0.1:{port}").get("/models")


@pytest.mark.parametrize("url", ["127.0.0.1:8400", "ftp://127.0.0.1", "http://"])
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(Unavailable, match="http://"):
        Endpoint(url)


def test_an_error_in_mid_stream_is_raised_after_what_came(script: Any) -> None:
    script.error_event = {"message": "The model was lost.", "type": "server_error"}
    events = Endpoint(script.url, KEY).stream("/chat/completions", BODY)
    said = [next(events) for _ in range(4)]
    assert text(said) == "Paris."
    with pytest.raises(Unavailable, match=r"The model was lost\."):
        next(events)


def test_a_stream_without_its_end_is_not_taken_for_whole(script: Any) -> None:
    script.cut = True
    with pytest.raises(Unavailable, match="early"):
        list(Endpoint(script.url, KEY).stream("/chat/completions", BODY))


def test_closing_a_stream_hangs_up(script: Any) -> None:
    script.endless = True
    events = Endpoint(script.url, KEY).stream("/chat/completions", BODY)
    next(events)
    events.close()
    assert script.hung_up.wait(20)


def test_a_server_of_another_kind_is_recognised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable, match="failed"):
            Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}").get("/models")
        thread.join()
