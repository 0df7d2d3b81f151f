"""What is kept, through a real server: cached answers in either form, and nothing at all where that is wished."""

from pathlib import Path

import pytest

from caller import Caller, chat, get
from conftest import config
from installation import Installation
from upstream import Upstream, completion, says, stream, whole

MARKER = "a-marker-like-no-other"


@pytest.mark.parametrize("streamed_first", [False, True])
def test_an_answer_is_replayed_in_either_form(shoal: Installation, upstream: Upstream, streamed_first: bool) -> None:
    model = f"kept-{streamed_first}"
    upstream.play(model, says(stream() if streamed_first else whole(completion())))
    with Caller(shoal.port, shoal.key) as caller:
        asked = [caller.ask(chat(f"up/{model}", stream=form), headers={"x-shoal-cache": "60"}) for form in (streamed_first, True, False)]
        assert [answer.headers["x-shoal-cache"] for answer in asked] == ["MISS", "HIT", "HIT"]
        assert all(int(answer.headers["age"]) < 60 for answer in asked[1:])
        assert b'"lo."' in asked[1].body or b"Hello." in asked[1].body
        assert asked[2].json["choices"][0]["message"]["content"] == "Hello."
        assert asked[2].json["usage"]["cost"] == 0
        assert "x-shoal-cache" not in caller.ask(chat(f"up/{model}", stream=streamed_first)).headers
    assert len(upstream.received(model)) == 2


def test_of_a_request_that_wants_it_nothing_is_kept(upstream: Upstream, tmp_path: Path) -> None:
    server = Installation(tmp_path, config(upstream)).start()
    try:
        with Caller(server.port, server.key) as caller:
            body = {**chat("up/forgotten"), "user": MARKER, "metadata": {"k": MARKER}, "messages": [{"role": "user", "content": MARKER}]}
            answer = caller.ask(body, headers={"x-shoal-retention": "none", "x-shoal-cache": "on"})
            assert answer.status == 200
            caller.send(get(server.key, f"/v1/receipts/{answer.headers['x-request-id']}"))
            assert caller.answer().json["retention"] == "none"
    finally:
        server.stop()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert MARKER.encode() not in path.read_bytes(), path
