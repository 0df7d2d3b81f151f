"""Whether a held answer will do."""

import msgspec
import pytest

from shoal.core.answer import Answer, Choice
from shoal.core.conversation import Part, Reasoning, Refusal, Text, ToolCall
from shoal.routing.judgement import Judgement

CALL = ToolCall("c1", "f")


def answer(*parts: Part, finish: str | None = "stop", logprobs: object = None) -> Answer:
    """An answer of one choice."""
    raw = None if logprobs is None else msgspec.Raw(msgspec.json.encode(logprobs))
    return Answer(choices=(Choice(parts, finish, logprobs=raw),))  # type: ignore[arg-type]


def tokens(*logprobs: float) -> object:
    """OpenAI's logprobs object."""
    return {"content": [{"token": "x", "logprob": one, "bytes": None, "top_logprobs": []} for one in logprobs], "refusal": None}


@pytest.mark.parametrize(
    ("judgement", "good", "bad"),
    [
        (Judgement(), answer(Text("a")), answer()),
        (Judgement(), answer(CALL, finish="tool_calls"), answer(Text("a"), finish="length")),
        (Judgement(), answer(Text("a")), answer(Text("a"), finish="content_filter")),
        (Judgement(), answer(Text("a")), answer(Text("a"), finish=None)),
        (Judgement(), answer(Text("I cannot")), answer(Refusal("I cannot"))),
        (Judgement(refusals=True, min_chars=0), answer(Refusal("No")), answer(Refusal("No"), finish="length")),
        (Judgement(finish=("stop", "length")), answer(Text("a"), finish="length"), answer(CALL, finish="tool_calls")),
        (Judgement(min_chars=4), answer(Text("ab"), Text("cd")), answer(Text("abc"), Reasoning("at length"))),
        (Judgement(max_chars=3), answer(Text("abc")), answer(Text("abcd"))),
        (Judgement(json=True), answer(Text(' {"a": 1}\n')), answer(Text('{"a": 1'))),
        (Judgement(json=True), answer(Text("```json\n[1]\n```")), answer(Text("Here it is: [1]"))),
        (Judgement(json=True), answer(CALL, finish="tool_calls"), answer(Text("[" * 100_000 + "]" * 100_000))),
        (Judgement(min_mean_logprob=-0.5), answer(Text("a"), logprobs=tokens(-0.9, -0.1)), answer(Text("a"), logprobs=tokens(-0.9, -0.2))),
        (Judgement(min_mean_logprob=-0.5), answer(Text("a"), logprobs=tokens(-0.5)), answer(Text("a"))),
        (Judgement(min_mean_logprob=-0.5), answer(Text("a"), logprobs=tokens(0.0)), answer(Text("a"), logprobs={"content": None})),
        (Judgement(min_mean_logprob=-0.5), answer(Text("a"), logprobs=tokens(0.0)), answer(Text("a"), logprobs=[1])),
    ],
)
def test_what_will_do(judgement: Judgement, good: Answer, bad: Answer) -> None:
    assert judgement.accepts(good)
    assert not judgement.accepts(bad)


def test_every_choice_must_do() -> None:
    good, bad = Choice((Text("a"),)), Choice((Text(""),), index=1)
    assert Judgement().accepts(Answer(choices=(good, good)))
    assert not Judgement().accepts(Answer(choices=(good, bad)))
    assert not Judgement().accepts(Answer())


@pytest.mark.parametrize(("fields", "message"), [({"finish": ()}, "finish is empty"), ({"min_chars": 5, "max_chars": 4}, "max_chars")])
def test_what_no_answer_can_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Judgement(**fields)  # type: ignore[arg-type]
