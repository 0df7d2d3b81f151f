"""Rows from where examples are: an uploaded file, or the chats that a project keeps.

What cannot be a row is counted by its reason and never guesses at a shape. A file is its uploader's own declaration that its answers may
teach; an answer from the log may teach only where its project lets it, and where the terms of who answered are known to (licences.py).
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.distil.ladder import kind_of
from shoal.distil.licences import CORRECTED, DECLARED, Decision, Override, decide
from shoal.distil.rows import Message, Origin, Row, subject_of
from shoal.storage.completions import Completion, Sought
from shoal.storage.feedback import Feedback
from shoal.storage.store import Store

CONSENT = "the project may train"
_PORTION = 200


class Gathered(msgspec.Struct, frozen=True):
    """Rows, and how many others were not usable, by reason."""

    rows: tuple[Row, ...]
    rejected: Mapping[str, int] = {}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which kept chats: with all of these `labels` (their metadata), of a model, of this time (milliseconds since 1970, the last not
    included), only those that callers `asked` to have stored, and with at least `least_score` where somebody gave one. `to_ask`: a chat
    whose answer may not teach is a question for another teacher, instead of none at all. `most` is how many are read, the newest first."""

    labels: Mapping[str, str] = {}
    model: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    asked: bool = False
    least_score: float | None = None
    to_ask: bool = False
    most: int = 200_000


def from_file(data: bytes, file_id: str, subject: str = "") -> Gathered:
    """Rows of a file of JSON lines, as OpenAI's fine-tuning takes them: `messages`, `prompt` and `completion`, or preferences.

    https://platform.openai.com/docs/api-reference/fine-tuning/chat-input
    Of a conversation the last answer is the row's; a line without one is a question that waits for its answer. `subject` is a hash of the
    user whose data the file is (rows.subject_of).
    """
    rows: list[Row] = []
    rejected: Counter[str] = Counter()
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            found = _read_line(line, Origin("file", file_id=file_id, line=number, rule=DECLARED, consent=DECLARED, subject=subject))
            if isinstance(found, Row):
                rows.append(found)
            else:
                rejected[found] += 1
    return Gathered(tuple(rows), dict(rejected))


def _read_line(line: bytes, origin: Origin) -> Row | str:
    try:
        line.decode()
        value = msgspec.json.decode(line)
    except UnicodeDecodeError:
        return "invalid text"
    except (msgspec.DecodeError, RecursionError):
        return "invalid JSON"
    if not isinstance(value, dict):
        return "wrong shape"
    if "prompt" in value:
        return read_row(
            [{"role": "user", "content": value["prompt"]}, {"role": "assistant", "content": value.get("completion") or ""}], origin
        )
    messages = value.get("messages")
    if isinstance(asked := value.get("input"), dict) and isinstance(preferred := value.get("preferred_output"), list):
        messages = [*(asked.get("messages") or ()), *preferred]
    return read_row(messages, origin)


def read_row(messages: Any, origin: Origin) -> Row | str:
    """A row from messages of OpenAI's chat, or why there is none."""
    if not isinstance(messages, list) or not messages:
        return "wrong shape"
    plain: list[Message] = []
    for message in messages:
        if not isinstance(message, dict):
            return "wrong shape"
        if message.get("tool_calls") or message.get("function_call") or message.get("role") in ("tool", "function"):
            return "uses tools"
        content = text_of(message.get("content"))
        if content is None or not isinstance(message.get("role"), str):
            return "wrong shape" if not isinstance(message.get("content"), list) else "has pictures or files"
        plain.append({"role": message["role"], "content": content})
    answered = plain[-1]["role"] == "assistant"
    asked = tuple(plain[:-1] if answered else plain)
    if not asked:
        return "empty question"
    return Row(asked, plain[-1]["content"] if answered else "", origin)


def text_of(content: Any) -> str | None:
    """A message's content as one text; None where it is none, or not only text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part for part in content if isinstance(part, dict) and part.get("type") in ("text", "input_text", "output_text")]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "".join(texts) if len(texts) == len(content) else None


async def from_logs(store: Store, org_id: str, project_id: str, wanted: Wanted, overrides: Sequence[Override] = ()) -> Gathered:
    """Rows of the chats that a project keeps: what was asked, and what was answered or, where a caller corrected it, should have been.

    Several samples are several rows. Chats with a bad score are left out, without a `least_score` those below 0. Errors: Fault forbidden
    where the project does not let what it keeps teach a model.
    """
    project = await store.projects.find(org_id, project_id)
    if not project.may_train:
        told = f"What the project {project.name} keeps may not teach a model: change its `may_train` first, if its users agree."
        raise Fault("forbidden", told, param="project")
    rows: list[Row] = []
    rejected: Counter[str] = Counter()
    async for kept in _portions(store, project_id, wanted):
        said = await store.feedback.about(project_id, [one.request_id for one in kept])
        for one in kept:
            for found in _read_chat(one, said.get(one.request_id, ()), wanted, org_id):
                if isinstance(found, Row):
                    rows.append(found)
                else:
                    rejected[found] += 1
    return Gathered(tuple(admit(rows, overrides, rejected, to_ask=wanted.to_ask)), dict(rejected))


def sought_of(project_id: str, wanted: Wanted) -> Sought:
    """Which of a project's completions are wanted, in the words of the store."""
    return Sought(
        project_id=project_id,
        model=wanted.model,
        labels=wanted.labels,
        asked=wanted.asked,
        from_ms=wanted.since_ms,
        until_ms=wanted.until_ms,
    )


async def _portions(store: Store, project_id: str, wanted: Wanted) -> AsyncIterator[list[Completion]]:
    portion: list[Completion] = []
    number = 0
    async for one in store.completions.walk(sought_of(project_id, wanted), newest_first=True):
        portion.append(one)
        number += 1
        if len(portion) == _PORTION or number == wanted.most:
            yield portion
            portion = []
        if number == wanted.most:
            return
    if portion:
        yield portion


def _read_chat(kept: Completion, said: Sequence[Feedback], wanted: Wanted, org_id: str) -> Iterator[Row | str]:
    """The rows of a kept chat, one a sample; or why there is none."""
    scores = [one.opinion.score for one in said if one.opinion.score is not None]
    corrections = [one.opinion.correction for one in said if one.opinion.correction is not None]
    if scores and not corrections and sum(scores) / len(scores) < (wanted.least_score or 0.0):
        yield "a bad score"
        return
    origin = Origin(
        "logs",
        request_id=kept.request_id,
        model=kept.model,
        provider=kept.provider,
        consent=CONSENT,
        subject=subject_of(org_id, kept.user_id),
    )
    try:
        asked = msgspec.json.decode(kept.request)
        messages, choices = asked["messages"], msgspec.json.decode(kept.response)["choices"]
        if corrections:  # the newest
            corrected = msgspec.json.decode(corrections[-1])
            choices = [{"message": {**corrected, "role": "assistant"}}]
            origin = msgspec.structs.replace(origin, rule=CORRECTED)
        if asked.get("tools") or asked.get("functions"):
            yield "uses tools"
            return
        yield from [_read_choice(messages, choice, origin) for choice in choices] or ["empty answer"]
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError, AttributeError):
        yield "wrong shape"


def _read_choice(messages: Any, choice: dict[str, Any], origin: Origin) -> Row | str:
    said = choice["message"]
    if choice.get("finish_reason") in ("length", "content_filter"):
        return "the answer was cut"
    if said.get("refusal"):
        return "the model refused"
    if not said.get("content") and not said.get("tool_calls"):
        return "empty answer"
    row = read_row([*messages, {**said, "role": "assistant"}], origin)
    told = [token["logprob"] for token in ((choice.get("logprobs") or {}).get("content") or ())]
    return msgspec.structs.replace(row, logprob=sum(told) / len(told)) if told and isinstance(row, Row) else row


def admit(rows: Sequence[Row], overrides: Sequence[Override], rejected: Counter[str], *, to_ask: bool = False) -> list[Row]:
    """Rows whose answers may teach a task of the kind that they are, each with the rule that decided; the others are counted in
    `rejected`, or lose their answer where they are `to_ask`. Rows that have a rule, or no answer, are let in as they are."""
    answers = [row.answer for row in rows if row.answer]
    kind = kind_of(answers)[0] if answers else "text"
    decisions: dict[tuple[str, str], Decision] = {}
    admitted = []
    for row in rows:
        origin = row.origin
        if not row.answer or origin.rule:
            admitted.append(row)
            continue
        who = (origin.provider, origin.model)
        if who not in decisions:
            decisions[who] = decide(*who, kind, overrides)
        if decisions[who].allowed:
            ruled = msgspec.structs.replace(origin, rule=decisions[who].rule)
            admitted.append(msgspec.structs.replace(row, origin=ruled))
        elif to_ask:
            admitted.append(msgspec.structs.replace(row, answer="", logprob=None))
        else:
            rejected[f"answers of {origin.provider}/{origin.model.removeprefix(origin.provider + '/')} may not teach a {kind} task"] += 1
    return admitted
