"""Students of the real minnow behind a real server: published while it runs, for their own organisation, whatever befalls the process."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openai
import pytest

from installation import Installation, wait_for
from shoal.core.identity import OPERATOR
from shoal.mini.card import Card, write_card
from shoal.mini.catalogue import CHAT, EMBEDDING, find_directory, prepare
from shoal.mini.heads import Part, Plan, save_head
from shoal.mini.shelf import delete, make_current, publish
from shoal.storage.organisations import OrganisationEdit
from shoal.storage.store import Store
from treasury import in_store

WEIGHTS = Path(__file__).parents[2] / "build" / "weights-home"
HI = [{"role": "user", "content": "What is the capital of France?"}]
LABELS = ("yes", "no", "perhaps not")
CONFIG = """
[mini]
students_memory_mb = 3000

[distil]
enabled = false

[routes.support]
policy = "ordered"
models = ["ft:minnow:acme-{digits}:support", "minnow"]

[models.house]
deployments = [{{ provider = "minnow", model = "ft:minnow:acme-{digits}:support" }}]
"""


class Firm(NamedTuple):
    """An organisation with a key."""

    id: str
    name: str
    client: openai.OpenAI

    def names(self) -> set[str]:
        """The students that it sees."""
        return {model.id for model in self.client.models.list() if model.id.startswith("ft:")}

    def ask(self, model: str, **more: object) -> "openai.types.chat.ChatCompletion":
        """One short answer."""
        more = {"max_tokens": 8, "temperature": 0} | more
        return self.client.chat.completions.create(model=model, messages=HI, **more)  # type: ignore[call-overload,no-any-return]

    def publish(self, home: Path, made: Path, name: str) -> str:
        """Publish for it, beside the server."""
        return publish(home, made, self.id, self.name, name)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for model in (CHAT, EMBEDDING):
        prepare(WEIGHTS, model, lambda stage, done, total: None)
    home = tmp_path_factory.mktemp("home")
    (home / "weights").mkdir()
    for model in (CHAT, EMBEDDING):
        (home / "weights" / model).symlink_to(find_directory(WEIGHTS, model))
    return home


@pytest.fixture(scope="module")
def shoal(home: Path) -> Iterator[Installation]:
    running = Installation(home, CONFIG.format(digits="000000"), mini=True).start()
    yield running
    assert running.stop() == 0, running.log()


def found(shoal: Installation, name: str) -> Iterator[Firm]:
    """An organisation that pays afterwards."""

    async def act(store: Store) -> tuple[str, str]:
        organisation = await store.organisations.create(OrganisationEdit(name=name, prepaid=False), actor="test")
        (project,) = await store.projects.list_of(organisation.id)
        return organisation.id, (await store.keys.make(organisation.id, project.id, name))[1]

    org_id, key = in_store(shoal, act)
    with openai.OpenAI(base_url=f"http://127.0.0.1:{shoal.port}/v1", api_key=key, max_retries=0, timeout=120) as client:
        yield Firm(org_id, name, client)


@pytest.fixture(scope="module")
def acme(shoal: Installation) -> Iterator[Firm]:
    yield from found(shoal, "acme")


@pytest.fixture(scope="module")
def rival(shoal: Installation) -> Iterator[Firm]:
    yield from found(shoal, "rival")


@pytest.fixture(scope="module")
def operator(shoal: Installation) -> Iterator[Firm]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{shoal.port}/v1", api_key=shoal.key, max_retries=0, timeout=120) as client:
        yield Firm(OPERATOR, "operator", client)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of random weights on the sentence model."""
    directory = tmp_path_factory.mktemp("head")
    write_card(directory, Card("x", "head", "head", 256, base="minnow"))
    weights = np.random.default_rng(1).normal(size=(384, len(LABELS))).astype(np.float32)
    save_head(directory, Plan("label", LABELS, parts=(Part("sentence"),)), {"bias": np.zeros(len(LABELS), np.float32), "weights0": weights})
    return directory


@pytest.fixture(scope="module")
def copy(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The minnow itself, as a student."""
    directory = tmp_path_factory.mktemp("copy") / "made"
    shutil.copytree(find_directory(home, CHAT), directory, ignore=shutil.ignore_patterns("model.gguf"))
    return directory


def refused(firm: Firm, model: str, **more: object) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as fault:
        firm.ask(model, **more)
    return fault.value


def test_a_head_answers_as_soon_as_it_is_published(home: Path, acme: Firm, rival: Firm, operator: Firm, head: Path) -> None:
    name = acme.publish(home, head, "intent")
    answer = acme.ask(name, logprobs=True)  # at once: whoever has just been told the name may use it
    choice = answer.choices[0]
    assert choice.message.content in LABELS and choice.finish_reason == "stop" and answer.model == name
    assert choice.logprobs is not None and choice.logprobs.content is not None and choice.logprobs.content[0].logprob < 0
    assert answer.usage is not None and answer.usage.prompt_tokens > 5
    more = answer.model_extra or {}
    assert more["shoal"]["provider"] == "minnow" and (answer.usage.model_extra or {})["cost"] > 0
    alias = name.removesuffix(":1")
    stream = acme.client.chat.completions.create(model=alias, messages=HI, stream=True)  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == choice.message.content
    assert acme.names() >= {name, alias} and operator.names() >= {name, alias} and not {name, alias} & rival.names()
    assert operator.ask(name).choices[0].message.content == choice.message.content
    assert acme.client.models.retrieve(alias).id == alias
    for model in (name, alias, f"minnow/{alias}"):
        fault = refused(rival, model)
        assert (fault.status_code, fault.code) == (404, "model_not_found")
        with pytest.raises(openai.NotFoundError):
            rival.client.models.retrieve(model)
    assert alias not in refused(rival, f"{alias[:-1]}x").message
    fallback = rival.ask(alias, extra_body={"models": ["minnow"]})
    assert fallback.model == "minnow"


def test_a_student_that_generates_is_loaded_when_it_is_asked(home: Path, acme: Firm, copy: Path, shoal: Installation) -> None:
    name = acme.publish(home, copy, "writer")
    whole = acme.ask(name).choices[0].message.content
    assert whole == acme.ask("minnow").choices[0].message.content  # the same weights
    route = acme.ask("support")
    assert route.model == "minnow"  # the route names a student that is not here
    assert refused(acme, "house").code == "model_not_found"
    assert "is not on this machine (yet)" in shoal.log()
    completion = acme.client.completions.create(model=name, prompt="The capital of France is", max_tokens=4, temperature=0)
    assert completion.choices[0].text


def test_back_by_one_call_and_deleted(home: Path, acme: Firm, head: Path) -> None:
    first, second = acme.publish(home, head, "turns"), acme.publish(home, head, "turns")
    alias = first.removesuffix(":1")
    assert acme.ask(alias).model == second
    assert make_current(home, alias) == first
    assert acme.ask(alias).model == first  # the process looks at the disk itself
    assert acme.client.models.delete(first).deleted
    assert acme.ask(alias).model == second
    delete(home, alias)
    wait_for(lambda: alias not in acme.names(), "a list without it")
    assert refused(acme, alias).code == "model_not_found"


def test_damaged_students_are_nobodys_end(home: Path, acme: Firm, head: Path, copy: Path) -> None:
    broken = acme.publish(home, copy, "broken")
    (find_directory(home, broken) / "openvino" / "openvino_model.bin").write_bytes(b"damaged")
    fault = refused(acme, broken)
    assert fault.status_code in (502, 503), fault
    half = home / "weights" / "ft--minnow--operator--half--1"
    half.mkdir()
    (half / "model.json").write_text('{"name": "x", "kind"')
    for number in range(50):
        acme.publish(home, head, f"many-{number}")
    assert acme.ask("minnow").choices[0].message.content
    answers = {acme.ask(f"ft:minnow:acme-{acme.id[4:10]}:many-{number}").choices[0].message.content for number in range(0, 50, 7)}
    assert len(answers) == 1
    assert len([name for name in acme.names() if "many-" in name]) == 100


def test_killed_with_students_loaded_it_serves_them_again(home: Path, acme: Firm, shoal: Installation, head: Path, copy: Path) -> None:
    intent, writer = acme.publish(home, head, "kept"), acme.publish(home, copy, "kept-writer")
    assert acme.ask(intent).choices and acme.ask(writer).choices
    mini = shoal.child("shoal.mini.serve")
    stream = iter(acme.client.chat.completions.create(model=writer, messages=HI, stream=True, max_tokens=2000, temperature=1))  # type: ignore[call-overload]
    next(stream)
    os.kill(mini.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError):
        list(stream)

    def answered(name: str) -> bool:
        with contextlib.suppress(openai.APIStatusError):
            return bool(acme.ask(name).choices)
        return False

    wait_for(lambda: answered(intent), "an answer of the head", 90)
    wait_for(lambda: answered(writer), "an answer of the student", 90)
