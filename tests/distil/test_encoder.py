"""encoder.py: a tiny random sentence model learns labels and spans, goes on where it was killed, and is served as it was taught."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from shoal.distil import encoder
from shoal.distil.encoder import EncoderRung
from shoal.distil.examined import open_student
from shoal.distil.rows import Row
from shoal.distil.student import Options, Task
from shoal.distil.watch import Cancelled, Silent
from shoal.evals import graders
from shoal.mini import catalogue, embedding
from shoal.mini.card import read_card

NAMES, PLACES, PLAIN = ("ann", "bo", "cy"), ("rome", "oslo"), ("went", "to", "with", "and", "saw", "left")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *NAMES, *PLACES, *PLAIN, "list", "all", ":")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    directory = catalogue.find_directory(home, catalogue.EMBEDDING)
    directory.mkdir(parents=True)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=30, hidden_size=32, intermediate_size=64, num_attention_heads=4, num_hidden_layers=2, max_position_embeddings=64
    )
    model = BertModel(config, add_pooling_layer=False)
    torch.nn.init.normal_(model.embeddings.word_embeddings.weight, std=0.5)
    save_file(model.state_dict(), directory / "model.safetensors")
    (directory / "config.json").write_text(config.to_json_string())
    cutter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    cutter.normalizer, cutter.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    cutter.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    cutter.save(str(directory / "tokenizer.json"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["embedding", str(directory), catalogue.EMBEDDING, "test", "00"])
        assert embedding.main() == 0
    return home


def make_rows(kind: str, count: int, seed: int) -> list[Row]:
    dice, rows = random.Random(seed), []
    for _ in range(count):
        words = [dice.choice(PLAIN) for _ in range(5)]
        name, place = dice.choice(NAMES), dice.choice(PLACES)
        words[dice.randrange(2)], words[2 + dice.randrange(3)] = name.title(), place.title()
        answer = place if kind == "label" else json.dumps({"name": [name.title()], "place": [place.title()]})
        rows.append(Row(({"role": "user", "content": " ".join(words)},), answer))
    return rows


def make_task(kind: str) -> Task:
    labels = PLACES if kind == "label" else ()
    return Task(kind, make_rows(kind, 96, 1), make_rows(kind, 20, 2), make_rows(kind, 30, 3), labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["label", "json"])
def test_it_learns_and_is_served_as_taught(kind: str, home: Path, tmp_path: Path) -> None:
    task, options = make_task(kind), Options(home, epochs=12, learning_rate=2e-3, threads=1)
    assert EncoderRung().unfit(task) is None
    student = EncoderRung().train(task, tmp_path, options, Silent())
    with open_student(tmp_path, home, 1) as asked:
        said = asked.answer([row.messages for row in task.test])
        held = asked.answer([row.messages for row in task.dev])
    grade = [graders.grade(task.kind, one, row.answer) for one, row in zip(said, task.test, strict=True)]
    assert sum(grade) / len(grade) > 0.8
    if kind == "json":
        again = [graders.grade(task.kind, one, row.answer) for one, row in zip(held, task.dev, strict=True)]
        assert student.figures["dev_score"] == pytest.approx(sum(again) / len(again))
    assert read_card(tmp_path).kind == "head"
    assert not (tmp_path / encoder.CHECKPOINT).exists()
    assert EncoderRung().train(task, tmp_path, options, Silent()) == student


class Broken(Silent):
    """Calls off the work after an epoch."""

    def checkpoint(self, step: int, **figures: float) -> None:
        raise Cancelled


def test_a_killed_training_goes_on_to_the_same_end(home: Path, tmp_path: Path) -> None:
    task, options = make_task("json"), Options(home, epochs=2, threads=1)
    EncoderRung().train(task, tmp_path / "whole", options, Silent())
    with pytest.raises(Cancelled):
        EncoderRung().train(task, tmp_path / "cut", options, Broken())
    assert (tmp_path / "cut" / encoder.CHECKPOINT).exists()
    EncoderRung().train(task, tmp_path / "cut", options, Silent())
    whole, cut = (
        embedding.OpenVinoEmbedder(tmp_path / one, read_card(tmp_path / one), 1).read([[2, 4, 5, 3]])[0] for one in ("whole", "cut")
    )
    assert np.allclose(whole, cut, atol=1e-5)


def test_what_it_cannot_hold() -> None:
    rows = make_rows("json", 60, 1)
    assert "fewer than 50" in (EncoderRung().unfit(Task("json", rows[:9], [], [])) or "")
    assert "but text" in (EncoderRung().unfit(Task("text", rows, [], [])) or "")
    strange = [Row(row.messages, '{"name": ["Zoe"]}') for row in rows]
    assert "not in their text" in (EncoderRung().unfit(Task("json", strange, [], [])) or "")
