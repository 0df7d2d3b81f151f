"""Whatever the cuts, the stream is the whole: no half characters, no stop string shown."""

import itertools
import re

from hypothesis import example, given
from hypothesis import strategies as st

from shoal.mini.text import Stops, TextStream

_LETTERS = st.text(alphabet="ab<|", max_size=24)
_STOPS = st.lists(st.text(alphabet="ab<|", min_size=1, max_size=4), min_size=1, max_size=4)


def _cut(whole, cuts):
    points = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    return [whole[a:b] for a, b in itertools.pairwise(points)]


def _stream(pieces, stops=()):
    """Tokens are indexes into `pieces`; returns the shown pieces."""
    stream, shown = TextStream(lambda tokens: b"".join(pieces[t] for t in tokens), stops), []
    for token in range(len(pieces)):
        shown.append(stream.feed([token]))
        if stream.stopped:
            return shown
    return [*shown, stream.finish()]


@given(st.binary(max_size=64), st.lists(st.integers(0, 64)))
@example("héllo 🐟 ﷽".encode(), list(range(40)))
@example(b"\xf0\x9f\x90", [1, 2])
@example(b"a\xff\xe2\x82b", [1, 2, 3])
def test_characters_are_never_cut(data, cuts):
    assert "".join(_stream(_cut(data, cuts))) == data.decode("utf-8", "replace")


@given(st.text(max_size=32), st.lists(st.integers(0, 128)))
def test_valid_text_never_shows_a_replacement_in_passing(text, cuts):
    shown = _stream(_cut(text.encode(), cuts))
    assert "".join(shown) == text
    assert all(("�" in piece) <= ("�" in text) for piece in shown)


def _first_stop(text, stops):
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


@given(_LETTERS, _STOPS, st.lists(st.integers(0, 24)))
@example("ab", ["abc", "b"], [1])
def test_stops_do_not_depend_on_the_cuts(text, stops, cuts):
    assert "".join(_stream(_cut(text.encode(), cuts), stops)) == _first_stop(text, stops)


@given(_LETTERS, _STOPS)
def test_nothing_shown_is_ever_taken_back(text, stops):
    kept, shown = Stops(stops), ""
    for character in text:
        more, met = kept.feed(character)
        shown += more
        assert not any(re.search(re.escape(stop), shown) for stop in stops)
        if met:
            return
    assert shown + kept.finish() == text


def test_a_stop_across_three_tokens_is_not_leaked():
    assert _stream([b"one S", b"TO", b"P two"], ["STOP"]) == ["one ", "", ""]


def test_what_looked_like_a_stop_is_given_back():
    assert _stream([b"one S", b"TO", b"E two"], ["STOP"]) == ["one ", "", "STOE two", ""]


def test_logprobs_go_with_their_text_and_a_stop_takes_its_tokens_along():
    pieces = [b"caf", b"\xc3", b"\xa9 ", b"E", b"ND", b"x"]
    stream = TextStream(lambda tokens: b"".join(pieces[t] for t in tokens), ["END"], logprobs=True)
    seen = []
    for token in range(len(pieces)):
        stream.feed([token], [-float(token)])
        seen.append([(c.data, c.logprob, c.offset) for c in stream.chosen])
        if stream.stopped:
            break
    assert seen == [[(b"caf", 0.0, 0)], [], [(b"\xc3", -1.0, 3), (b"\xa9 ", -2.0, 3)], [], []]
    assert stream.tokens == 5


def test_logprobs_of_kept_back_text_come_at_the_end():
    pieces = [b"a", b"E", b"N", b""]
    stream = TextStream(lambda tokens: b"".join(pieces[t] for t in tokens), ["END"], logprobs=True)
    for token in range(len(pieces)):
        stream.feed([token], [-1.0])
    assert stream.finish() == "EN"
    assert [c.data for c in stream.chosen] == [b"E", b"N", b""]
