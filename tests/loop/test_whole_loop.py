"""From traffic to a mini by OpenAI's SDK alone: stored completions, a file, a job with real training, and a model that answers."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from conftest import config
from installation import Installation
from shoal.mini.catalogue import CHAT, EMBEDDING, prepare
from upstream import Line, Received, Upstream, completion, whole

WEIGHTS = Path(__file__).parents[2] / "build" / "weights-home"
SYSTEM = "Say what the customer is about: delivery, refund or password. Answer with one of these words."
TOPICS = {
    "delivery": ["my parcel has not come", "where is my order", "the courier never rang", "track the shipment", "the package is late"],
    "refund": ["I want my money back", "when will you refund me", "you charged me twice", "return the payment", "reimburse this invoice"],
    "password": ["I cannot log in", "reset my password", "my account is locked", "the login code is wrong", "I forgot my passphrase"],
}
OPENINGS = ["Hello, {}", "{}, please help", "Since Monday {}", "Dear team, {}.", "Sorry to bother you but {}", "{}! What now?"]
QUESTIONS = {opening.format(text): topic for topic, texts in TOPICS.items() for text in texts for opening in OPENINGS}
UNSEEN = {
    "The parcel you sent is nowhere to be found": "delivery",
    "Give me back the money": "refund",
    "The password does not work": "password",
}
PATIENCE_S = 150.0


def teach(line: Line, request: Received) -> None:
    """The teacher knows every question's topic."""
    question = request.json["messages"][-1]["content"]
    line.send(whole(completion(QUESTIONS[question])))


@pytest.fixture(scope="module")
def installation(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    for model in (CHAT, EMBEDDING):
        prepare(WEIGHTS, model, lambda stage, done, total: None)
    home = tmp_path_factory.mktemp("loop")
    (home / "weights").mkdir()
    for model in (CHAT, EMBEDDING):
        (home / "weights" / model).symlink_to(WEIGHTS / "weights" / model)
    running = Installation(home, config(upstream, trains=True), mini=True).start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture
def client(installation: Installation) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{installation.port}/v1", api_key=installation.key, max_retries=0) as client:
        yield client


def messages(question: str) -> Any:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def wait(client: openai.OpenAI, job_id: str) -> FineTuningJob:
    """The job once it has ended; its events are followed as a caller does."""
    deadline = time.monotonic() + PATIENCE_S
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline, [event.message for event in client.fine_tuning.jobs.list_events(job_id)]
        time.sleep(0.5)
    return job


def test_from_stored_completions_to_a_model_that_answers(client: openai.OpenAI, upstream: Upstream, tmp_path: Path) -> None:
    upstream.play("loop-teacher", teach)
    for question in QUESTIONS:
        client.chat.completions.create(model="up/loop-teacher", messages=messages(question), store=True, metadata={"task": "topics"})
    rows = []
    for stored in client.chat.completions.list(metadata={"task": "topics"}, limit=50):
        asked = [{"role": one.role, "content": one.content} for one in client.chat.completions.messages.list(stored.id)]
        answer = {"role": "assistant", "content": stored.choices[0].message.content}
        rows.append(json.dumps({"messages": [*asked, answer]}))
    assert len(rows) == len(QUESTIONS)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows))
    file = client.files.create(file=path, purpose="fine-tune")
    made = client.fine_tuning.jobs.create(model="minnow", training_file=file.id, suffix="topics", seed=1)
    job = wait(client, made.id)
    said = [event.message for event in client.fine_tuning.jobs.list_events(made.id)]
    assert job.status == "succeeded", (job.error, said)
    assert job.fine_tuned_model == "ft:minnow:operator:topics:1", said
    assert job.fine_tuned_model in [model.id for model in client.models.list()]
    for question, topic in UNSEEN.items():
        answer = client.chat.completions.create(model=job.fine_tuned_model, messages=messages(question))
        assert answer.choices[0].message.content == topic
    assert any(line.startswith("head: about") for line in said), said
