"""POST /v1/completions: text goes on where the prompt ends. The prompt is the model's raw input: control tokens in it are recognised."""

from shoal.core.errors import Fault
from shoal.mini import dialect
from shoal.mini.answers import CompletionAnswer, make_head
from shoal.mini.chat import make_sampling
from shoal.mini.choice import Choice, Writer, answer
from shoal.mini.dialect import CompletionRequest
from shoal.mini.served import ServedChat, encode_fitting
from shoal.mini.streams import CompletionStream
from shoal.mini.template import encode_pieces
from shoal.mini.text import TextStream
from shoal.net.exchange import Exchange

_DEFAULT_MAX_TOKENS = 16  # OpenAI's
MAX_ANSWERS = 128


async def serve_completion(model: ServedChat, request: CompletionRequest, exchange: Exchange) -> None:
    """Answer a completion of one or several prompts, whole or as a stream. Raises Fault while nothing is sent."""
    can, engine = model.engine.capabilities, model.engine
    dialect.check_completion(request, can)
    logprobs = request.logprobs is not None
    if request.echo and logprobs:
        text = "This model gives no logprobs of the prompt's tokens; leave out 'echo' or 'logprobs'."
        raise Fault("unsupported_parameter", text, param="logprobs")
    given = dialect.split_input(request.prompt, "prompt")
    if len(given) * request.choices > MAX_ANSWERS:
        text = f"'prompt' and 'n' ask for {len(given) * request.choices} answers, but {MAX_ANSWERS} is the limit; send several requests."
        raise Fault("invalid_value", text, param="prompt")
    prompts = [
        await _encode(model, item, "prompt" if len(given) == 1 else f"prompt[{i}]", len(exchange.body)) for i, item in enumerate(given)
    ]
    wanted = request.max_tokens or _DEFAULT_MAX_TOKENS
    if request.max_tokens is None:
        wanted = min(wanted, *(model.context_tokens - len(prompt) for prompt in prompts))
    for prompt in prompts:
        model.fit(len(prompt), wanted, "prompt")
    sampling = make_sampling(request, wanted, can, logprobs=logprobs)
    count = request.choices
    dropped = dialect.list_dropped(exchange.body, CompletionRequest)
    head = make_head("cmpl", model.name, model.fingerprint, sum(map(len, prompts)), dropped)
    shown = [engine.tokenizer.decode_bytes(prompt).decode("utf-8", "replace") if request.echo else "" for prompt in prompts]
    echoes = [echo for echo in shown for _ in range(count)]
    writer: Writer = (
        CompletionStream(exchange, head, echoes, usage=request.wants_usage) if request.stream else CompletionAnswer(exchange, head, echoes)
    )
    decode = engine.tokenizer.decode_bytes
    choices = [Choice(i, TextStream(decode, request.stops, logprobs=logprobs)) for i in range(len(echoes))]
    await answer(engine, exchange, choices, [prompt for prompt in prompts for _ in range(count)], sampling, writer)


async def _encode(model: ServedChat, item: str | list[int], param: str, size: int) -> list[int]:
    limit, tokenizer = model.context_tokens - 1, model.engine.tokenizer
    if isinstance(item, str):
        tokens = await encode_fitting(lambda: encode_pieces(tokenizer.encode, [item], limit), size, param, model.context_tokens)
    else:
        dialect.check_tokens(item, tokenizer.size, param)
        tokens = item
    if not tokens:
        raise Fault("invalid_value", f"'{param}' is empty; send at least one token of text.", param=param)
    if len(tokens) > limit:
        raise dialect.make_context_fault(param, f"{len(tokens)} tokens", None, model.context_tokens)
    return tokens
