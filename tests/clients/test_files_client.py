"""Files and feedback as OpenAI's SDK (and, for what it does not know, its plain requests) asks for them."""

import io
import json
import random
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from installation import Installation
from polyglot import name

ROW = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}).encode()
TASK = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}).encode()


@pytest.fixture(scope="module")
def client(everyone: Installation) -> Iterator[openai.OpenAI]:
    """It does not retry by itself."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{everyone.port}/v1", api_key=everyone.key, max_retries=0) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_before(client: openai.OpenAI) -> None:
    for file in client.files.list():
        client.files.delete(file.id)


def named(data: bytes, filename: str = "rows.jsonl") -> tuple[str, bytes]:
    return filename, data


def test_a_file_comes_and_goes(client: openai.OpenAI) -> None:
    data = b"\n".join([ROW, b"", ROW + b"\r", ROW])
    made = client.files.create(file=named(data), purpose="fine-tune")
    assert (made.object, made.bytes, made.filename, made.purpose, made.status, made.expires_at) == (
        *("file", len(data), "rows.jsonl", "fine-tune", "processed"),
        None,
    )
    assert client.files.retrieve(made.id) == made
    content = client.files.content(made.id)
    assert content.content == data
    assert content.response.headers["content-disposition"] == 'attachment; filename="rows.jsonl"'
    assert client.files.wait_for_processing(made.id) == made
    gone = client.files.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "file")
    for again in (client.files.retrieve, client.files.delete, client.files.content):
        with pytest.raises(openai.NotFoundError):
            again(made.id)


def test_a_long_file_comes_back_byte_by_byte(client: openai.OpenAI) -> None:
    draw = random.Random(1)
    rows = [json.dumps({"text": "".join(draw.choices('abcdefgh "\\é\n', k=draw.randint(0, 300_000)))}).encode() for _ in range(30)]
    data = b"\n".join(rows)
    assert len(data) > 3 * 1024 * 1024
    made = client.files.create(file=io.BytesIO(data), purpose="evals")
    assert client.files.content(made.id).read() == data


def test_files_are_listed(client: openai.OpenAI) -> None:
    made = [client.files.create(file=named(ROW), purpose=purpose) for purpose in ("fine-tune", "evals", "fine-tune")]
    made += [client.files.create(file=named(TASK), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})]
    assert {file.id for file in client.files.list()} == {file.id for file in made}
    walked = [file.id for file in client.files.list(limit=1, order="asc")]
    assert sorted(walked) == sorted(file.id for file in made)
    assert walked[::-1] == [file.id for file in client.files.list(order="desc")]
    assert [file.purpose for file in client.files.list(purpose="fine-tune")] == ["fine-tune"] * 2
    (batch,) = client.files.list(purpose="batch")
    assert batch.expires_at == batch.created_at + 3600
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.list(after="file-nothing")
    assert caught.value.param == "after"


@pytest.mark.parametrize(
    ("purpose", "data", "message"),
    [
        ("fine-tune", ROW + b"\n{", "Line 2 is not an object with 'messages'.*no JSON"),
        ("fine-tune", ROW + b"\n\n{}\n" + ROW, "Line 3 is not an object with 'messages'"),
        ("fine-tune", b"[1]", "Line 1 is not an object"),
        ("fine-tune", b'{"messages": 5}', "Line 1 .*Expected `array"),
        ("fine-tune", ROW + b'\n{"prompt": "\xff"}', "Line 2 .*no UTF-8"),
        ("fine-tune", b"", "this one has none"),
        ("fine-tune", b"\n \r\n", "this one has none"),
        ("fine-tune", b"[" * 100_000, "Line 1 "),
        ("batch", TASK + b"\n" + ROW, "Line 2 is not an object with 'custom_id'"),
        ("evals", b"PK\x03\x04", "Line 1 is not a JSON object"),
    ],
)
def test_what_is_no_json_lines_leaves_nothing_behind(client: openai.OpenAI, purpose: Any, data: bytes, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        client.files.create(file=named(data), purpose=purpose)
    assert caught.value.param == "file"
    assert client.files.list().data == []


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"purpose": "vision"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"purpose": "x" * 3000}, "purpose"),
        ({"expires_after": {"anchor": "created_at", "seconds": 3599}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 10**12}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "last_active_at", "seconds": 4000}}, "expires_after.anchor"),
        ({"extra_body": {"project_id": "proj_x"}}, "project_id"),
    ],
)
def test_fields_are_checked(client: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(**{"file": named(ROW), "purpose": "fine-tune"} | more)
    assert caught.value.param == param
    assert client.files.list().data == []


def test_names_of_files_are_shown_harmlessly(client: openai.OpenAI) -> None:
    made = client.files.create(file=named(ROW, 'a"\r\nx-evil: 1\\é/../' + "b" * 300), purpose="fine-tune")
    assert len(made.filename) <= 255
    content = client.files.content(made.id)
    assert "x-evil" not in content.response.headers


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"", 415),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", 400),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nevals\r\n--x--\r\n', 400),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n{}', 400),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n\r\n' * 50 + b"--x--", 400),
    ],
)
def test_forms_that_are_none(client: openai.OpenAI, content_type: str, body: bytes, status: int) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/files", content=body, cast_to=object, options={"headers": {"content-type": content_type}})
    assert caught.value.status_code == status, caught.value
    assert caught.value.body is not None
    assert client.files.list().data == []


def test_a_file_may_come_before_its_purpose(client: openai.OpenAI) -> None:
    parts = [b'name="file"; filename="f"\r\n\r\n' + ROW, b'name="purpose"\r\n\r\nfine-tune', b'name="user"\r\n\r\nada']
    body = b"".join(b"--x\r\ncontent-disposition: form-data; " + part + b"\r\n" for part in parts) + b"--x--\r\n"
    made: Any = client.post(
        "/files", content=body, cast_to=object, options={"headers": {"content-type": "multipart/form-data; boundary=x"}}
    )
    assert (made["purpose"], made["bytes"]) == ("fine-tune", len(ROW))


def ask(client: openai.OpenAI, **more: Any) -> tuple[str, str]:
    """The ids of a request and of its completion."""
    hi: Any = [{"role": "user", "content": "hi"}]
    raw = client.chat.completions.with_raw_response.create(model=name("openai_chat", "plain"), messages=hi, max_tokens=5, **more)
    return raw.headers["x-request-id"], raw.parse().id


def feed(client: openai.OpenAI, **word: Any) -> Any:
    return client.post("/feedback", body=word, cast_to=object)


def test_feedback_is_given_and_shown(client: openai.OpenAI) -> None:
    request_id, _ = ask(client)
    word = {"score": 0.5, "label": "good", "comment": "yes é", "correction": {"role": "assistant", "content": "better"}}
    said = feed(client, request_id=request_id, **word)
    assert said == {"id": said["id"], "object": "feedback", "request_id": request_id, "created_at": said["created_at"], **word}
    again = feed(client, request_id=request_id, score=-1, correction="best")
    assert (again["id"], again["score"], again["label"]) == (said["id"], -1.0, None)
    assert again["correction"] == {"role": "assistant", "content": "best"}
    shown: Any = client.get(f"/feedback/{said['id']}", cast_to=object)
    assert shown == again
    listed: Any = client.get("/feedback", cast_to=object, options={"params": {"request_id": request_id}})
    assert (listed["data"], listed["has_more"]) == ([again], False)
    gone: Any = client.delete(f"/feedback/{said['id']}", cast_to=object)
    assert gone["deleted"] is True
    with pytest.raises(openai.NotFoundError):
        client.get(f"/feedback/{said['id']}", cast_to=object)


def test_feedback_names_a_stored_completion(client: openai.OpenAI) -> None:
    request_id, _ = ask(client, store=True, metadata={"batch": "feedback"})
    (stored,) = client.chat.completions.list(metadata={"batch": "feedback"})
    assert feed(client, completion_id=stored.id, label="fine")["request_id"] == request_id


@pytest.mark.parametrize(
    ("word", "param"),
    [
        ({"score": 1.1}, "score"),
        ({"score": -1.1}, "score"),
        ({"score": "1"}, "score"),
        ({"label": ""}, "label"),
        ({"label": "x" * 65}, "label"),
        ({"comment": "x" * 10_001}, "comment"),
        ({"correction": {"role": "user", "content": "x"}}, "correction.role"),
        ({"correction": {}}, "correction.content"),
        ({"correction": "x" * (1024 * 1024 + 1)}, "correction"),
        ({}, "score"),
        ({"score": 1, "key_id": "key_x"}, "key_id"),
        ({"score": 1, "completion_id": "both"}, "request_id"),
    ],
)
def test_feedback_is_checked(client: openai.OpenAI, word: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        feed(client, request_id="req_" + "0" * 32, **word)
    assert caught.value.param == param, caught.value


def test_feedback_needs_a_request_that_was_there(client: openai.OpenAI) -> None:
    for id in ("req_" + "0" * 32, "req_" + "f" * 32, "chatcmpl-nothing", "' OR 1=1 --"):
        with pytest.raises(openai.NotFoundError) as caught:
            feed(client, request_id=id, score=1)
        assert caught.value.code == "not_found"
