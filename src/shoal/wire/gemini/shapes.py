"""The JSON of an answer, as much of it as is read. See https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.

Vertex says the same with a few members more; members that are null or of no use here are passed over.
"""

import msgspec

ABSENT = msgspec.Raw(b"null")
"""What is absent reads as null: msgspec takes no Raw in a union."""

Count = int | None


class PartialArg(msgspec.Struct, rename="camel"):
    """A piece of a call's arguments, and its place among them. What has no value is null."""

    json_path: str = ""
    string_value: str | None = None
    number_value: int | float | None = None
    bool_value: bool | None = None


class FunctionCall(msgspec.Struct, rename="camel"):
    """A call of the caller's function; `args` is an object. One that continues comes in pieces, and only the first has its name."""

    name: str = ""
    id: str | None = None
    args: msgspec.Raw = ABSENT
    partial_args: list[PartialArg] | None = None
    will_continue: bool | None = None


class Blob(msgspec.Struct, rename="camel"):
    """Bytes in base64."""

    mime_type: str | None = None
    data: str | None = None


class FileData(msgspec.Struct, rename="camel"):
    """Bytes by their address."""

    mime_type: str | None = None
    file_uri: str | None = None


class Part(msgspec.Struct, rename="camel"):
    """One part of a turn: just one of its members but the two about thought."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None


class Content(msgspec.Struct):
    """A turn."""

    parts: list[Part] | None = None


class Source(msgspec.Struct):
    """Where something was found."""

    uri: str | None = None
    title: str | None = None
    text: str | None = None


class Chunk(msgspec.Struct, rename="camel"):
    """A source, by its kind."""

    web: Source | None = None
    retrieved_context: Source | None = None
    maps: Source | None = None


class Segment(msgspec.Struct, rename="camel"):
    """A stretch of a part, in bytes of UTF-8; a start of 0 is left out."""

    start_index: int | None = None
    end_index: int | None = None
    part_index: int | None = None


class Support(msgspec.Struct, rename="camel"):
    """Which sources stand behind a stretch."""

    segment: Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class Grounding(msgspec.Struct, rename="camel"):
    """Sources that a search found."""

    grounding_chunks: list[Chunk] | None = None
    grounding_supports: list[Support] | None = None


class Quotation(msgspec.Struct, rename="camel"):
    """A source that the model quotes at length."""

    start_index: int | None = None
    end_index: int | None = None
    uri: str | None = None
    title: str | None = None


class Quotations(msgspec.Struct, rename="camel"):
    """Vertex calls them citations, AI Studio citation sources."""

    citations: list[Quotation] | None = None
    citation_sources: list[Quotation] | None = None


class Token(msgspec.Struct, rename="camel"):
    """A token and the logarithm of its probability; one that was certain has none."""

    token: str = ""
    log_probability: float = 0.0


class TopTokens(msgspec.Struct):
    """The likeliest tokens of one step."""

    candidates: list[Token] | None = None


class Logprobs(msgspec.Struct, rename="camel"):
    """What was chosen at each step, and what else might have been."""

    chosen_candidates: list[Token] | None = None
    top_candidates: list[TopTokens] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One of the answers asked for, or the next of it."""

    content: Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    grounding_metadata: Grounding | None = None
    citation_metadata: Quotations | None = None
    logprobs_result: Logprobs | None = None


class Feedback(msgspec.Struct, rename="camel"):
    """Why a question was not answered."""

    block_reason: str | None = None


class ModalityCount(msgspec.Struct, rename="camel"):
    """Tokens of one kind: TEXT, IMAGE, AUDIO, ..."""

    modality: str | None = None
    token_count: Count = None


class UsageMetadata(msgspec.Struct, rename="camel"):
    """Tokens so far. A count of 0 is left out."""

    prompt_token_count: Count = None
    cached_content_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    total_token_count: Count = None
    prompt_tokens_details: list[ModalityCount] | None = None
    cache_tokens_details: list[ModalityCount] | None = None
    candidates_tokens_details: list[ModalityCount] | None = None
    service_tier: str | None = None
    traffic_type: str | None = None


class Response(msgspec.Struct, rename="camel"):
    """An answer, or an event of one."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = ABSENT


response = msgspec.json.Decoder(Response)
