"""Bodies of a project that wants them kept, through a real server: as the caller sent and got them, a stream of a chat as the whole that it
adds up to, and nothing of anybody else's."""

import json
import sqlite3
import zlib
from pathlib import Path

from caller import Caller, chat
from conftest import config
from installation import Installation, wait_for
from upstream import Upstream, delta, says, stream


def kept(shoal: Installation) -> dict[str, tuple[bytes, bytes]]:
    database = sqlite3.connect(f"file:{shoal.home / 'shoal.db'}?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT request_id, request, response FROM bodies").fetchall()
    finally:
        database.close()
    return {name: (zlib.decompress(request), zlib.decompress(response)) for name, request, response in rows}


def test_a_project_keeps_what_was_asked_and_answered(upstream: Upstream, tmp_path: Path) -> None:
    shoal = Installation(tmp_path, config(upstream)).start()
    project = shoal.shoal("projects", "create", "kept", "--keep-bodies").strip()
    key = shoal.shoal("keys", "create", "keeper", "--project", project).strip()
    upstream.play("streamed", says(stream([delta("wor"), delta("ds", "stop"), b"data: [DONE]\n\n"])))
    with Caller(shoal.port, key) as caller, Caller(shoal.port, shoal.key) as other:
        wait_for(lambda: caller.ask(chat("up/x")).status == 200 and kept(shoal), "the first bodies")
        whole, streamed = caller.ask(chat("up/x")), caller.ask(chat("up/streamed", stream=True))
        private, foreign = caller.ask(chat("up/x"), headers={"x-shoal-retention": "none"}), other.ask(chat("up/x"))
        names = [answer.headers["x-request-id"] for answer in (whole, streamed, private, foreign)]
        wait_for(lambda: set(names[:2]) <= kept(shoal).keys(), "the bodies of both forms")
    assert shoal.stop() == 0
    bodies = kept(shoal)
    assert json.loads(bodies[names[0]][0])["model"] == "up/x"
    assert bodies[names[0]][1] == whole.body
    added_up = json.loads(bodies[names[1]][1])
    assert added_up["choices"][0]["message"]["content"] == "words"
    assert (added_up["object"], added_up["shoal"]["id"]) == ("chat.completion", names[1])
    assert not {*names[2:]} & bodies.keys()
