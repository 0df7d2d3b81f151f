"""Answers as callers get them, through a real server: the upstream's bytes, the insertions, the headers, the receipt."""

import json

from caller import Caller, chat, get
from installation import Installation
from upstream import DONE, Upstream, completion, default, says, whole


def test_a_whole_answer_has_its_receipt_everywhere(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("priced", says(whole(completion("Paris."))))
    with Caller(shoal.port, shoal.key) as caller:
        answer = caller.ask(chat("priced"))
        assert answer.status == 200
        body = answer.json
        assert body["choices"][0]["message"]["content"] == "Paris."
        assert body["usage"] == {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "cost": 0.000015}
        assert answer.headers["x-request-id"] == body["shoal"]["id"]
        assert answer.headers["x-shoal-cost-usd"] == "0.000015"
        assert answer.headers["x-shoal-model"] == "priced"
        assert answer.headers["x-shoal-provider"] == "up"
        assert answer.headers["x-shoal-attempts"] == "1"
        assert float(answer.headers["x-shoal-overhead-ms"]) < 1000
        caller.send(get(shoal.key, f"/v1/receipts/{body['shoal']['id']}"))
        assert caller.answer().json == body["shoal"]
    sent = upstream.received("priced")[-1]
    assert sent.headers[b"authorization"] == b"Bearer sk-upstream-secret"
    assert shoal.key.encode() not in b"".join(sent.headers.values())


def test_a_stream_ends_with_its_receipt(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("priced", default)
    with Caller(shoal.port, shoal.key) as caller:
        answer = caller.ask(chat("priced", stream=True, stream_options={"include_usage": True}))
        assert answer.headers["content-type"].startswith("text/event-stream")
        *chunks, done = answer.events
        assert done == b"[DONE]"
        last = json.loads(chunks[-1])
        assert last["shoal"]["id"] == answer.headers["x-request-id"]
        assert last["usage"]["cost"] == last["shoal"]["cost_usd"] == 0.000015
        without = caller.ask(chat("priced", stream=True))
        assert b"prompt_tokens" not in without.body
        comment, _, rest = without.body.partition(b": shoal ")[2].partition(b"\n\n")
        assert json.loads(comment)["usage"] == {"input": 9, "output": 3}
        assert rest == DONE


def test_what_a_provider_cannot_use_is_told(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("odd-seed", says(whole(completion())))
    with Caller(shoal.port, shoal.key) as caller:
        answer = caller.ask(chat("odd/odd-seed", seed=7))
        assert answer.json["shoal"]["dropped"] == ["seed"]
        assert "seed" not in upstream.received("odd-seed")[0].json
        refused = caller.ask(chat("odd/odd-seed", seed=7, provider={"require_parameters": True}))
        assert (refused.status, refused.error["param"]) == (400, "seed")


def test_a_strange_model_name_makes_no_header(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        answer = caller.ask(chat("up/a\r\nx-evil: 1 é %"))
        assert answer.status == 200
        assert "x-evil" not in answer.headers
        assert answer.headers["x-shoal-model"] == "up/a%0D%0Ax-evil:%201%20%C3%A9%20%"
