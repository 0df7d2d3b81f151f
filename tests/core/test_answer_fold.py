"""Answers and the streams that tell them: folding what was split gives the same answer, however the words are cut."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.answer import (
    Answer,
    Began,
    Choice,
    CitationDelta,
    Delta,
    Ended,
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Used,
    fold,
    split,
)
from shoal.core.conversation import Citation, File, Image, Part, Reasoning, Refusal, Text, ToolCall
from shoal.core.usage import Usage

TEXT = st.text(max_size=12)
SOME = st.text(min_size=1, max_size=12)
MAYBE = st.none() | SOME
COUNT = st.none() | st.integers(0, 10**6)
CITATIONS = st.lists(st.builds(Citation, url=MAYBE, title=MAYBE, start=COUNT, end=COUNT), max_size=2).map(tuple)
PARTS = st.one_of(
    st.builds(Text, SOME, citations=CITATIONS),
    st.builds(Refusal, SOME),
    st.builds(Reasoning, TEXT, signature=MAYBE, redacted=MAYBE, origin=MAYBE, id=MAYBE),
    st.builds(ToolCall, SOME, SOME, SOME, signature=MAYBE),
    st.builds(Image, url=SOME),
    st.builds(File, data=SOME, media_type=MAYBE),
)
LOGPROBS = msgspec.Raw(msgspec.json.encode({"refusal": None, "content": [{"token": "a", "logprob": -0.5}]}))


def normal(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbours of one kind of words are one part, as the words of a stream are."""
    out: list[Part] = []
    for part in parts:
        if out and isinstance(part, Text | Refusal) and type(out[-1]) is type(part):
            continue
        out.append(part)
    return tuple(out)


CHOICES = st.lists(
    st.builds(
        Choice,
        st.lists(PARTS, max_size=5).map(normal),
        st.sampled_from(["stop", "length", "tool_calls", "content_filter", None]),
        logprobs=st.sampled_from([None, LOGPROBS]),
        stop_sequence=MAYBE,
    ),
    max_size=3,
).map(lambda choices: tuple(msgspec.structs.replace(choice, index=index) for index, choice in enumerate(choices)))
ANSWERS = st.builds(
    Answer,
    id=TEXT,
    model=TEXT,
    created=COUNT,
    choices=CHOICES,
    usage=st.builds(Usage, input=COUNT, output=COUNT, cache_read=COUNT, reasoning=COUNT),
)


@given(ANSWERS)
def test_folding_what_was_split_gives_the_same_answer(answer: Answer) -> None:
    assert fold(split(answer)) == answer


def cut(delta: Delta, at: int) -> list[Delta]:
    """A delta of words as two."""
    if isinstance(delta, TextDelta):
        return [TextDelta(delta.text[:at], delta.choice), TextDelta(delta.text[at:], delta.choice)]
    if isinstance(delta, RefusalDelta):
        return [RefusalDelta(delta.text[:at], delta.choice), RefusalDelta(delta.text[at:], delta.choice)]
    if isinstance(delta, ReasoningDelta):
        first = ReasoningDelta(delta.text[:at], block=delta.block, choice=delta.choice)
        return [first, msgspec.structs.replace(delta, text=delta.text[at:])]
    if isinstance(delta, ToolCallDelta):
        first_piece = msgspec.structs.replace(delta, arguments=delta.arguments[:at])
        return [first_piece, ToolCallDelta(delta.index, arguments=delta.arguments[at:], choice=delta.choice)]
    return [delta]


@given(ANSWERS, st.lists(st.integers(0, 12), min_size=1, max_size=8))
def test_cutting_words_anywhere_changes_nothing(answer: Answer, cuts: list[int]) -> None:
    pieces = [piece for place, delta in enumerate(split(answer)) for piece in cut(delta, cuts[place % len(cuts)])]
    assert fold(pieces) == answer


@given(ANSWERS)
def test_choices_may_alternate(answer: Answer) -> None:
    """Only the order within a choice counts."""
    deltas = list(split(answer))
    of_choices = [[one for one in deltas if getattr(one, "choice", None) == choice.index] for choice in answer.choices]
    woven = [one[place] for place in range(max(map(len, of_choices), default=0)) for one in of_choices if place < len(one)]
    assert fold([deltas[0], *woven, deltas[-1]]) == answer


def test_thoughts_of_another_block_are_another_thought() -> None:
    answer = fold([ReasoningDelta("a", block=0), ReasoningDelta("b", block=0), ReasoningDelta("c", signature="s", block=1)])
    assert answer.choices[0].parts == (Reasoning("ab"), Reasoning("c", "s"))


def test_calls_told_in_turns_stay_apart() -> None:
    pieces = [
        ToolCallDelta(0, "a", "f", "{"),
        ToolCallDelta(1, "b", "g", "["),
        ToolCallDelta(0, arguments="}"),
        ToolCallDelta(1, arguments="]"),
    ]
    assert fold(pieces).choices[0].parts == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "[]"))


def test_a_source_belongs_to_the_text_before_it() -> None:
    source = Citation("https://example.com")
    assert fold([TextDelta("a"), ToolCallDelta(0, "i", "f", "{}"), CitationDelta(source)]).choices[0].parts[0] == Text(
        "a", citations=(source,)
    )
    assert fold([CitationDelta(source)]).choices[0].parts == (Text("", citations=(source,)),)


def test_logprobs_are_strung_together() -> None:
    raw = [msgspec.Raw(b'{"content":[{"token":"a"}],"refusal":null}'), msgspec.Raw(b'{"content":[{"token":"b"}]}')]
    logprobs = fold([LogprobsDelta(one) for one in raw]).choices[0].logprobs
    assert logprobs is not None
    assert msgspec.json.decode(logprobs) == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_the_last_usage_counts_and_an_end_is_not_made_up() -> None:
    answer = fold([Began("i", "m", 1), TextDelta("a"), Used(Usage(input=1)), Used(Usage(input=1, output=2))])
    assert answer.usage == Usage(input=1, output=2)
    assert answer.choices[0].finish is None
    assert fold([Ended("length", 0, "x")]).choices[0].stop_sequence == "x"
