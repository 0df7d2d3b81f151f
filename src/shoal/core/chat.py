"""The request envelope: the scalars the gateway must know, checked; everything else stays as the caller wrote it.

A field that is not named here is neither parsed nor lost: `splice` rebuilds the object around the raw bytes of its members.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from shoal.core.errors import Fault

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
_Some = Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]
_LabelName = Annotated[str, msgspec.Meta(max_length=64)]
_LabelValue = Annotated[str, msgspec.Meta(max_length=512)]
Metadata = Annotated[dict[_LabelName, _LabelValue], msgspec.Meta(max_length=16)]
"""A caller's labels, within OpenAI's limits (https://platform.openai.com/docs/api-reference/chat/create#chat-create-metadata)."""


class StreamOptions(msgspec.Struct, frozen=True):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What every dialect's request may carry: the gateway's own members. They do not go upstream.

    `models` (or `fallbacks`) are names to fall back to, `provider` are OpenRouter's preferences, `session_id` keeps a session with one
    deployment. OpenRouter's old `route` is taken and means what is done anyway.
    """

    model: _Name = ""
    stream: bool | None = None
    models: Annotated[list[_Name], msgspec.Meta(max_length=20)] | None = None
    fallbacks: Annotated[list[_Name], msgspec.Meta(max_length=20)] | None = None
    provider: dict[str, Any] | None = None
    route: str | None = None
    session_id: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def has_ours(self) -> bool:
        """Whether there is anything that must not go upstream."""
        return (
            self.store is not None
            or self.metadata is not None
            or self.models is not None
            or self.fallbacks is not None
            or self.provider is not None
            or self.route is not None
            or self.session_id is not None
        )


class ChatFields(Envelope, frozen=True, kw_only=True):
    """What the gateway checks of `POST /v1/chat/completions`; message contents are checked by whoever decodes them."""

    model: _Name
    messages: _Some
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: _Positive | None = None
    max_tokens: _Positive | None = None
    max_completion_tokens: _Positive | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0)] | None = None
    tools: list[msgspec.Raw] | None = None
    metadata: Metadata | None = None


class CompletionFields(Envelope, frozen=True, kw_only=True):
    """What the gateway checks of `POST /v1/completions`."""

    model: _Name
    prompt: str | _Some
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: _Positive | None = None
    best_of: _Positive | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    seed: int | None = None
    metadata: Metadata | None = None


class EmbeddingFields(Envelope, frozen=True, kw_only=True):
    """What the gateway checks of `POST /v1/embeddings`."""

    model: _Name
    input: str | _Some
    dimensions: _Positive | None = None
    stream: None = None


class RerankFields(Envelope, frozen=True, kw_only=True):
    """What the gateway checks of `POST /v1/rerank`."""

    model: _Name
    query: str
    documents: _Some
    stream: None = None


class ResponseFields(Envelope, frozen=True, kw_only=True):
    """What the gateway checks of `POST /v1/responses`."""

    model: _Name
    input: str | list[msgspec.Raw] | None = None
    previous_response_id: str | None = None
    include: list[str] | None = None
    max_output_tokens: _Positive | None = None
    metadata: Metadata | None = None


class MessagesFields(Envelope, frozen=True, kw_only=True):
    """What the gateway checks of `POST /v1/messages`; Anthropic's `metadata` is the upstream's."""

    model: _Name
    messages: _Some
    max_tokens: _Positive | None = None


class GenerateFields(Envelope, frozen=True, kw_only=True):
    """What the gateway checks of Gemini's generateContent; the model's name stands in the path."""

    contents: msgspec.Raw


class CountFields(Envelope, frozen=True, kw_only=True):
    """What the gateway checks of Gemini's countTokens, whose contents may stand in a request of their own."""


class Request(msgspec.Struct, frozen=True):
    """One request of a caller: the checked fields, the whole body they came in, the model's name as the caller wrote it, and whether
    it wants the answer as it is made. `named` is the model where the path names it, and not the body."""

    fields: Any  # one of the structs above
    body: bytes
    model: str
    stream: bool
    named: str | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether the caller asked for the usage chunk of a stream."""
        options = getattr(self.fields, "stream_options", None)
        return bool(options and options.include_usage)

    @property
    def session(self) -> str | None:
        """What stays with one deployment, where the caller named something."""
        fields = self.fields
        return fields.session_id or fields.prompt_cache_key or fields.user  # type: ignore[no-any-return]

    @property
    def user(self) -> str:
        """The caller's own name for whom it asks: `user`, `safety_identifier`, or Anthropic's `metadata.user_id`; may be empty."""
        fields = self.fields
        named = fields.user or fields.safety_identifier
        if named is None and isinstance(fields, MessagesFields) and fields.metadata:
            named = fields.metadata.get("user_id")
        return named if isinstance(named, str) else ""

    @property
    def metadata(self) -> Mapping[str, str] | None:
        """The caller's labels; only texts count."""
        labels = self.fields.metadata
        return {name: value for name, value in labels.items() if isinstance(value, str)} if labels else None

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of output, where the caller said."""
        fields = self.fields
        for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
            limit = getattr(fields, name, None)
            if limit is not None:
                return int(limit)
        return None


_OF_VALUES = ("of length", ">=", "<=", "Invalid value", "Invalid enum value")
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(.*?)(?:\[\.\.\.\])?`$")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder()


def read_request(body: bytes, decoder: "msgspec.json.Decoder[Any]", named: str | None = None, streamed: bool | None = None) -> Request:
    """Check a request's body. Errors: Fault, as `decode` tells it."""
    fields = decode(body, decoder)
    return Request(fields, body, named or fields.model, bool(fields.stream) if streamed is None else streamed, named)


_T = TypeVar("_T")


def decode(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[_T], place: str = "") -> _T:
    """A caller's JSON, checked; `place` is where a part of a request stands in it.

    Errors: Fault naming the parameter, for what is malformed, too deep, not UTF-8, or of wrong types.
    """
    body = bytes(body)
    if not body:
        raise Fault("invalid_json", "The request body is empty; send a JSON object.")
    try:
        if not body.isascii():
            body.decode()  # raw members are not decoded below, and an upstream must not be the first to find out
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error), place) from None
    except msgspec.DecodeError as error:
        raise Fault("invalid_json", f"The request body is not valid JSON: {_plain(str(error), body)}.") from None
    except UnicodeDecodeError as error:
        raise Fault("invalid_json", f"The request body is not valid UTF-8 at byte {error.start}.") from None
    except RecursionError:
        raise Fault("invalid_json", "The request body's JSON is nested too deeply.") from None


MOST_NESTED = 100
"""Objects and arrays within each other in a request that is translated; deeper ones are refused by Google's servers, too."""


def check_whole(body: bytes) -> None:
    """Look at all of a request that will be translated: what was left raw until now must not turn out to be unreadable half-way.

    Errors: Fault invalid_json for a number that no double can hold, and for more than MOST_NESTED levels.
    """
    level: list[Any] = [decode(body, _anything)]
    if body.count(b"{") + body.count(b"[") <= MOST_NESTED:
        return
    for _ in range(MOST_NESTED):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
        if not level:
            return
    raise Fault("invalid_json", f"The request body's JSON is nested too deeply: at most {MOST_NESTED} levels are understood.")


_HALF = re.compile(rb'(?i)\\ud[89ab][0-9a-f]{2}"')  # the first half of a surrogate pair, at a string's end


def _plain(text: str, body: bytes) -> str:
    if "truncated" in text and _HALF.search(body):  # which is what msgspec calls it
        return "it holds half of a surrogate pair (\\uD800 to \\uDBFF), which is no character"
    return text.removeprefix("JSON is malformed: ").rstrip(".")


def within(place: str, name: str) -> str:
    """A member's place in a request: `tools` and `[0].name` make `tools[0].name`, `text` and `format` make `text.format`."""
    return f"{place}{'.' if place and name and not name.startswith('[') else ''}{name}"


def _explain(text: str, place: str) -> Fault:
    """A Fault from msgspec's message: `Expected X, got Y - at $.path`, or `Object missing required field`."""
    missing = re.match(r"Object missing required field `(.+?)`", text)
    where = _PATH.search(text)
    path = within(place, where.group(1) if where else "")
    if missing:
        param = within(path, missing.group(1))
        return Fault("missing_parameter", f"Missing required parameter: '{param}'.", param=param)
    what = _PATH.sub("", text).replace("`", "'").replace(" | null", "")
    if "out of range" in what and not path:
        return Fault("invalid_json", "The request body holds a number that is out of range.")
    if not path:
        return Fault("invalid_type", f"The request body must be a JSON object: {what}.")
    kind = "invalid_value" if any(mark in what for mark in _OF_VALUES) else "invalid_type"
    return Fault(kind, f"Invalid value for '{path}': {what[:1].lower()}{what[1:]}.", param=path)


def members_of(body: bytes) -> dict[str, msgspec.Raw]:
    """A JSON object's members, each as its own bytes."""
    return _members.decode(body)


def splice(body: bytes, changes: dict[str, bytes], without: tuple[str, ...] = ()) -> bytes:
    """The same JSON object with some members replaced or added (raw JSON), some left out, and all others as their own bytes."""
    members = members_of(body)
    for name in without:
        members.pop(name, None)
    for name, raw in changes.items():
        members[name] = msgspec.Raw(raw)
    return msgspec.json.encode(members)
