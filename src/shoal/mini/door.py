"""The mini's endpoints: which path goes where, and what is answered while weights are still being loaded."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.core.students import PREFIX
from shoal.mini import dialect
from shoal.mini.card import Speed
from shoal.mini.chat import serve_chat
from shoal.mini.completions import serve_completion
from shoal.mini.dialect import ChatRequest, CompletionRequest, EmbeddingRequest
from shoal.mini.labelled import serve_head
from shoal.mini.residents import Residents
from shoal.mini.served import ServedChat, ServedEmbedder, ServedHead
from shoal.mini.shelf import Published
from shoal.mini.vectors import serve_embeddings
from shoal.net.exchange import JSON, Exchange

_METHODS = {
    b"/v1/chat/completions": b"POST",
    b"/v1/completions": b"POST",
    b"/v1/embeddings": b"POST",
    b"/v1/models": b"GET",
    b"/health": b"GET",
}
_ONE_MODEL = b"/v1/models/"

Served = ServedChat | ServedEmbedder
SpeedOf = Callable[[Published, Speed | None], Speed | None]
"""How fast a student is, given how fast the sentence model reads."""


class MiniDoor:
    """net.server.Door of the child. `expected` models are answered with not_ready until `open` has brought them."""

    def __init__(
        self,
        expected: list[str],
        residents: Residents | None = None,
        speed_of: SpeedOf = lambda student, reading: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`residents` are the students that are served besides."""
        self._expected = expected
        self._residents = residents
        self._speed_of = speed_of
        self._student_speeds: dict[str, tuple[Published, Speed | None]] = {}
        self._models: dict[str, Served] = {}
        self._speeds: dict[str, Speed | None] = {}
        self._since = int(clock())
        self.ready = False

    def open(self, model: Served, speed: Speed | None = None) -> None:
        """A model is loaded and can be asked."""
        self._models[model.name] = model
        self._speeds[model.name] = speed
        self.ready = self.ready or isinstance(model, ServedChat)

    def close(self, name: str) -> None:
        """A model that was expected will not come."""
        self._expected = [other for other in self._expected if other != name]

    def takes(self, path: bytes) -> bool:
        """Every path: a child has no pages."""
        return True

    def readmit(self, exchange: Exchange) -> bool:
        """What was admitted once is admitted again: a head says all that is checked."""
        return True

    def admit(self, exchange: Exchange) -> None:
        """Refuse unknown paths and methods before the body is read."""
        path = exchange.path
        method = b"GET" if path.startswith(_ONE_MODEL) else _METHODS.get(path)
        if method is None:
            shown = path.decode("latin-1")[:200]
            raise Fault("unknown_url", f"There is nothing at {shown}; endpoints are under /v1.")
        if exchange.method != method and not (method == b"GET" and exchange.method == b"HEAD"):
            raise Fault("method_not_allowed", f"{path.decode('latin-1')} takes {method.decode()}.", param=method.decode())

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request. Raises Fault."""
        path = exchange.path
        if path == b"/v1/chat/completions":
            chat = dialect.decode(exchange.body, ChatRequest)
            async with self._use(chat.model) as model:
                if isinstance(model, ServedHead):
                    await serve_head(model, chat, exchange)
                else:
                    await serve_chat(model, chat, exchange)
        elif path == b"/v1/completions":
            completion = dialect.decode(exchange.body, CompletionRequest)
            async with self._use(completion.model) as model:
                if isinstance(model, ServedHead):
                    text = f"The model '{model.name}' answers from a closed set; use /v1/chat/completions."
                    raise Fault("invalid_value", text, param="model")
                await serve_completion(model, completion, exchange)
        elif path == b"/v1/embeddings":
            embedding = dialect.decode(exchange.body, EmbeddingRequest)
            await serve_embeddings(self._find_embedder(embedding.model), embedding, exchange)
        elif path == b"/health":
            _answer(exchange, self._describe_health())
        elif path == b"/v1/models":
            _answer(exchange, {"object": "list", "data": [*map(self._describe, self._models.values()), *self._describe_students()]})
        else:
            name = path[len(_ONE_MODEL) :].decode("latin-1")
            student = self._residents.find(name) if self._residents is not None and name.startswith(PREFIX) else None
            _answer(exchange, self._describe(self._find(name)) if student is None else self._describe_student(name, student))

    @asynccontextmanager
    async def _use(self, name: str) -> AsyncIterator[ServedChat | ServedHead]:
        """The model that chats under a name; a student stays loaded within the context. Raises Fault."""
        if self._residents is not None and name.startswith(PREFIX):
            async with self._residents.use(name) as student:
                yield student
        else:
            yield self._find_chat(name)

    def _find(self, name: str) -> Served:
        model = self._models.get(name)
        if model is not None:
            return model
        if name in self._expected:
            raise Fault("not_ready", f"The weights of '{name}' are being loaded; try again in a moment.", retry_after_s=1)
        known = ", ".join(f"'{name}'" for name in self._models) or "none yet"
        raise Fault("model_not_found", f"The model '{name[:200]}' does not exist here; there are: {known}.", param="model")

    def _find_chat(self, name: str) -> ServedChat:
        model = self._find(name)
        if not isinstance(model, ServedChat):
            raise Fault("invalid_value", f"The model '{name}' makes embeddings only; use /v1/embeddings.", param="model")
        return model

    def _find_embedder(self, name: str) -> ServedEmbedder:
        model = self._find(name)
        if not isinstance(model, ServedEmbedder):
            raise Fault("invalid_value", f"The model '{name}' makes no embeddings; use /v1/chat/completions.", param="model")
        return model

    def _describe(self, model: Served) -> dict[str, Any]:
        """A model as `/v1/models` lists it."""
        listed: dict[str, Any] = {"id": model.name, "object": "model", "created": self._since, "owned_by": "shoal"}
        if isinstance(model, ServedChat):
            return listed | {"context_tokens": model.context_tokens}
        return listed | {"context_tokens": model.embedder.context_tokens, "dimensions": model.embedder.dimensions}

    def _describe_students(self) -> Iterator[dict[str, Any]]:
        """Every version that is on the shelf, and every alias."""
        if self._residents is None:
            return
        self._residents.refresh()
        for student in self._residents.shelf.students:
            yield self._describe_student(student.id, student)
            if student.current:
                yield self._describe_student(str(student.name.alias), student)

    def _describe_student(self, name: str, student: Published) -> dict[str, Any]:
        card = student.card
        known = self._student_speeds.get(student.id)
        if known is None or known[0].card != card:
            reading = next((self._speeds[model.name] for model in self._models.values() if isinstance(model, ServedEmbedder)), None)
            known = (student, self._speed_of(student, reading))
            if known[1] is not None:
                self._student_speeds[student.id] = known
        return {
            "id": name,
            "object": "model",
            "created": card.made_at or self._since,
            "owned_by": card.org_id or "shoal",
            "context_tokens": card.context_tokens,
            "kind": card.kind,
            "version_of": student.id,
            "org_id": card.org_id,
            "base": card.base,
            **(msgspec.to_builtins(known[1]) or {}),
        }

    def _describe_health(self) -> Mapping[str, Any]:
        """Readiness, what each model can do, how busy the engines are, and how fast this machine was when it was measured."""
        chats = [model for model in self._models.values() if isinstance(model, ServedChat)]
        speed = next((self._speeds[model.name] for model in chats), None)
        loaded = self._residents.loaded if self._residents is not None else []
        chats += [one.model for one in loaded if isinstance(one.model, ServedChat)]
        models = []
        for model in self._models.values():
            can = msgspec.to_builtins(model.engine.capabilities) if isinstance(model, ServedChat) else {}
            measured = msgspec.to_builtins(self._speeds[model.name]) or {}
            models.append(self._describe(model) | measured | {"kind": "chat" if can else "embedding", "capabilities": can})
        return {
            "status": "ok" if self.ready else "loading",
            "models": [*models, *self._describe_students()],
            "loaded": [{"id": one.student.id, "bytes": one.bytes, "load_s": round(one.load_s, 2), "users": one.users} for one in loaded],
            "students_bytes": self._residents.budget_bytes if self._residents is not None else 0,
            "decode_tokens_per_s": speed.decode_tokens_per_s if speed else None,
            "prefill_tokens_per_s": speed.prefill_tokens_per_s if speed else None,
            "running": sum(model.engine.running for model in chats),
            "waiting": sum(model.engine.waiting for model in chats),
        }


def _answer(exchange: Exchange, body: object) -> None:
    exchange.answer(200, [JSON], msgspec.json.encode(body))
