"""Asking models over HTTP: what an answer says and costs, and what is worth asking again."""

from collections.abc import Iterator

import pytest

from shoal.distil.asking import Away, Gateway, Refused, Said
from upstream import CERTIFICATES, USAGE, Upstream, certified, completion, says, whole

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    made = Gateway(f"http://127.0.0.1:{upstream.port}", "sk-x")
    yield made
    made.close()


async def test_an_answer_says_what_it_cost(upstream: Upstream, gateway: Gateway) -> None:
    tokens = {"content": [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -0.5}]}
    body = completion("Hello.", USAGE | {"cost": 1.5e-05}, provider="up")
    body["choices"][0]["logprobs"] = tokens
    upstream.play("asking-told", says(whole(body)), says(whole(completion("Again."))))
    assert await gateway.ask("asking-told", HI) == Said("Hello.", 15_000, -0.75, "upstream", "up")
    assert await gateway.ask("asking-told", HI, temperature=0) == Said("Again.", None, None, "upstream", "")
    first, second = upstream.received("asking-told")
    assert first.headers[b"authorization"] == b"Bearer sk-x"
    assert second.json == {"model": "asking-told", "messages": HI, "temperature": 0}


async def test_what_is_busy_or_gone_is_away_and_what_is_wrong_is_refused(upstream: Upstream, gateway: Gateway) -> None:
    error = {"error": {"message": "no", "code": "insufficient_quota"}}
    upstream.play("asking-busy", says(whole(error, 429, "retry-after: 7\r\n")))
    with pytest.raises(Away) as away:
        await gateway.ask("asking-busy", HI)
    assert (away.value.status, away.value.retry_after_s) == (429, 7.0)
    upstream.play("asking-wrong", says(whole(error, 402)))
    with pytest.raises(Refused) as refused:
        await gateway.ask("asking-wrong", HI)
    assert (refused.value.status, refused.value.code, str(refused.value)) == (402, "insufficient_quota", "no")
    upstream.play("asking-odd", says(whole({"choices": []})))
    with pytest.raises(Away, match="no chat completion"):
        await gateway.ask("asking-odd", HI)
    nowhere = Gateway("http://127.0.0.1:1", "sk-x")
    with pytest.raises(Away, match="does not answer") as gone:
        await nowhere.ask("any", HI)
    assert gone.value.status is None
    nowhere.close()


async def test_a_connection_that_had_ended_is_opened_again(upstream: Upstream, gateway: Gateway) -> None:
    upstream.play("asking-ended", lambda line, _: (line.send(whole(completion())), line.close()), says(whole(completion("Still."))))  # type: ignore[func-returns-value]
    assert (await gateway.ask("asking-ended", HI)).text == "Hello."
    assert (await gateway.ask("asking-ended", HI)).text == "Still."


async def test_the_servers_own_certificate_is_trusted_and_no_other() -> None:
    server = Upstream(certified("misnamed"))
    trusting = Gateway(f"https://127.0.0.1:{server.port}", "sk-x", str(CERTIFICATES / "misnamed.pem"))
    assert (await trusting.ask("any", HI)).text == "Hello."
    wary = Gateway(f"https://127.0.0.1:{server.port}", "sk-x", str(CERTIFICATES / "stranger.pem"))
    with pytest.raises(Away, match="does not answer"):
        await wary.ask("any", HI)
    for one in (trusting, wary, server):
        one.close()
