"""Calls are read the same however they are cut; what is no call stays text; forced answers become calls."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoal.mini.tools import (
    ChosenReader,
    Function,
    NamedReader,
    TaggedReader,
    make_choice_schema,
    parse_calls,
    write_calls,
    write_prompt,
)

CALL = '<tool_call>[{"name": "add", "arguments": {"a": 1, "b": "x</tool"}}]</tool_call>'


def _read(reader, pieces):
    """(text, [(name, arguments)]) of an answer that came in `pieces`."""
    text, calls = "", {}
    for said, deltas in [*(reader.feed(piece) for piece in pieces), reader.finish()]:
        text += said
        for delta in deltas:
            name, arguments = calls.get(delta.index, (delta.name, ""))
            assert (delta.name is None) == (delta.index in calls) == (delta.id is None)
            calls[delta.index] = (name, arguments + delta.arguments)
    assert reader.calls == len(calls)
    return text, [calls[i] for i in sorted(calls)]


def _cut(whole, cuts):
    points = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    return [whole[a:b] for a, b in itertools.pairwise(points)]


_ANSWERS = [
    (CALL, "", [("add", '{"a":1,"b":"x</tool"}')]),
    (f"\n {CALL}\n", "", [("add", '{"a":1,"b":"x</tool"}')]),
    (f"Let me see.{CALL}", "Let me see.", [("add", '{"a":1,"b":"x</tool"}')]),
    ('<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>', "", [("add", "{}")]),
    ('<tool_call>[{"name": "add"}, {"name": "sub"}]</tool_call> ok', " ok", [("add", "{}"), ("sub", "{}")]),
    ('<tool_call>{"name": "add"}</tool_call>\n<tool_call>{"name": "sub"}</tool_call>', "", [("add", "{}"), ("sub", "{}")]),
    ('<tool_call>[{"name": "add", "arguments": {}}]', "", [("add", "{}")]),
    ("<tool_call>[]</tool_call>", "", []),
    ("a < b <tool", "a < b <tool", []),
    ("  plain", "  plain", []),
    (" ", " ", []),
    ("<tool_call>[{</tool_call> tail", "<tool_call>[{</tool_call> tail", []),
    ('<tool_call>{"name": "rm"}</tool_call>', '<tool_call>{"name": "rm"}</tool_call>', []),
    ('<tool_call>{"name": "add", "arguments": "1"}</tool_call>', '<tool_call>{"name": "add", "arguments": "1"}</tool_call>', []),
    ("<tool_call>" + "[" * 5000, "<tool_call>" + "[" * 5000, []),
]


@given(st.sampled_from(_ANSWERS[:-1]), st.lists(st.integers(0, 100)))
def test_calls_do_not_depend_on_the_cuts(answer, cuts):
    whole, text, calls = answer
    assert _read(TaggedReader(["add", "sub"]), _cut(whole, cuts)) == (text, calls)


@pytest.mark.parametrize(("whole", "text", "calls"), _ANSWERS, ids=range(len(_ANSWERS)))
def test_character_by_character(whole, text, calls):
    assert _read(TaggedReader(["add", "sub"]), whole) == (text, calls)


@given(st.text(alphabet='<tool_call>[]{}"/ \n', max_size=60), st.lists(st.integers(0, 60)))
@example("<tool_call></tool_call><tool_call>", [11])
def test_what_is_no_call_is_given_back_whole(text, cuts):
    read = _read(TaggedReader(["add"]), _cut(text, cuts))
    assert read == _read(TaggedReader(["add"]), [text])
    if "[]" not in text:  # an empty list is a call of nothing, and shows nothing
        assert read == (text, [])


def test_text_before_a_tag_is_not_kept_waiting():
    assert TaggedReader(["add"]).feed("Hello <b")[0] == "Hello <b"
    assert TaggedReader(["add"]).feed("Hello <to")[0] == "Hello "


def test_one_call_when_calls_in_parallel_are_not_wanted():
    reader = TaggedReader(["add", "sub"], at_most=1)
    assert _read(reader, ['<tool_call>[{"name": "add"}, {"name": "sub"}]</tool_call>']) == ("", [("add", "{}")])


def test_a_named_function_streams_its_arguments():
    assert _read(NamedReader("add"), ['{"a"', ": 1", "}"]) == ("", [("add", '{"a": 1}')])


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=8), st.lists(st.integers()))), st.lists(st.integers(0, 200)))
def test_a_chosen_function_streams_its_arguments(arguments, cuts):
    whole = ' {"name": "a-b_c", "arguments": ' + json.dumps(arguments) + "\n}"
    assert _read(ChosenReader(), _cut(whole, cuts)) == ("", [("a-b_c", json.dumps(arguments))])


def test_a_cut_choice_gives_what_there_is():
    assert _read(ChosenReader(), ['{"name": "ad']) == ("", [])
    assert _read(ChosenReader(), ['{"name": "add", "arguments": {"x": "}']) == ("", [("add", '{"x": "}')])


def test_the_choice_schema_moves_references():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "default": {"$ref": "#/kept"}}
    functions = [Function("a", 0, parameters={"$defs": {"node": node}, "$ref": "#/$defs/node"}), Function("b", 1)]
    schema = make_choice_schema(functions)
    assert [choice["properties"]["name"] for choice in schema["anyOf"]] == [{"const": "a"}, {"const": "b"}]
    moved = schema["anyOf"][0]["properties"]["arguments"]
    assert moved["$ref"] == "#/$defs/f0/$defs/node"
    assert schema["$defs"]["f0"]["$defs"]["node"]["properties"]["next"] == {"$ref": "#/$defs/f0/$defs/node"}
    assert schema["$defs"]["f0"]["$defs"]["node"]["default"] == {"$ref": "#/kept"}
    assert schema["anyOf"][1]["properties"]["arguments"] == {"type": "object", "properties": {}, "additionalProperties": False}


def test_earlier_calls_are_written_as_they_are_read():
    written = write_calls([{"name": "add", "arguments": '{"a": 1}'}, {"name": "sub", "arguments": "{}"}])
    assert _read(TaggedReader(["add", "sub"]), [written]) == ("", [("add", '{"a":1}'), ("sub", "{}")])


def test_the_prompt_lists_every_function():
    prompt = write_prompt([Function("add", 0, "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}}), Function("sub", 1)])
    listed = json.loads(prompt.partition("<tools>")[2].partition("</tools>")[0])
    assert [tool["name"] for tool in listed] == ["add", "sub"]
    assert listed[0]["parameters"]["properties"] == {"a": {"type": "integer"}}
    assert parse_calls(prompt.partition("<tool_call>")[2].partition("</tool_call>")[0], frozenset({"function name"})) is not None
