"""What students are to learn in benchmarks/distil.py: questions with gold answers, and what a teacher says who errs in 8% of them.

The data lies in a directory that is named on the command line: folders banking77, presidio_pii and scitldr as their sources publish them.
Nothing of it is part of the project.
"""

import csv
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

WRONG_SHARE = 0.08
SEED = 20_26

_INTENT = "Name the intent of the customer's message. Answer with exactly one of these names and nothing else: {labels}."
_PERSONAL = (
    "List the personal data in the text as a JSON object: for each kind that occurs, its name and the list of what is said, word for word, "
    "in the order of the text. Kinds: {kinds}. Answer with the JSON object alone."
)
_TITLE = "Write the title of the scientific paper with this abstract. Answer with the title alone."


class Lesson(NamedTuple):
    """`train` and `test` are (question, gold); several golds are several ways to be right. `kind` is how answers are graded."""

    name: str
    kind: str
    system: str
    train: Sequence[tuple[str, str]]
    test: Sequence[tuple[str, Sequence[str]]]
    mistake: Callable[[random.Random, str, str], str]

    def messages(self, question: str) -> list[dict[str, str]]:
        """The prompt."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": question}]

    def answers(self) -> dict[str, str]:
        """What the teacher says to every question, by a fixed seed."""
        dice = random.Random(SEED)
        said = {}
        for question, gold in [*self.train, *((question, golds[0]) for question, golds in self.test)]:
            said[question] = self.mistake(dice, question, gold) if dice.random() < WRONG_SHARE else gold
        return said


def banking(data: Path, rows: int | None, test_rows: int | None = None) -> Lesson:
    """77 intents of a bank's customers; from so many logged calls, or from all."""
    train, test = (_read_csv(data / "banking77" / f"{part}.csv") for part in ("train", "test"))
    seen = {_plain(text) for text, _ in train}
    test = [row for row in test if _plain(row[0]) not in seen]  # 25 of them are in both
    labels = sorted({label for _, label in train})
    dice = random.Random(SEED)
    dice.shuffle(train)
    dice.shuffle(test)

    def mistake(dice: random.Random, question: str, gold: str) -> str:
        return dice.choice([label for label in labels if label != gold])

    system = _INTENT.format(labels=", ".join(labels))
    name = f"intents from {rows or len(train)}"
    return Lesson(name, "label", system, train[:rows], [(text, [gold]) for text, gold in test[:test_rows]], mistake)


def extraction(data: Path, test_rows: int | None = None) -> Lesson:
    """Personal data in texts that were made from templates; no template is in both parts."""
    texts = json.loads((data / "presidio_pii" / "synth_dataset_v2.json").read_text())
    templates = sorted({text["template_id"] for text in texts})
    dice = random.Random(SEED)
    dice.shuffle(templates)
    held_out = set(templates[: len(templates) * 3 // 10])
    kinds = sorted({span["entity_type"] for text in texts for span in text["spans"]})
    train = [(text["full_text"], _spans(text)) for text in texts if text["template_id"] not in held_out]
    test = [(text["full_text"], [_spans(text)]) for text in texts if text["template_id"] in held_out]
    dice.shuffle(train)

    def mistake(dice: random.Random, question: str, gold: str) -> str:
        """One thing is missed, or taken for another kind."""
        said = json.loads(gold)
        if not said:
            return json.dumps({dice.choice(kinds): [question.split()[0]]}, ensure_ascii=False)
        kind = dice.choice(sorted(said))
        value = said[kind].pop(dice.randrange(len(said[kind])))
        if not said[kind]:
            del said[kind]
        if dice.random() < 0.5:
            said.setdefault(dice.choice([one for one in kinds if one != kind]), []).append(value)
        return json.dumps(said, ensure_ascii=False)

    return Lesson("extraction", "json", _PERSONAL.format(kinds=", ".join(kinds)), train, test[:test_rows], mistake)


def titles(data: Path, test_rows: int | None = None) -> Lesson:
    """From the abstract of a paper to its title."""
    read = {
        part: [json.loads(line) for line in (data / "scitldr" / f"{part}.jsonl").read_text().splitlines()] for part in ("train", "test")
    }
    rows = {part: [(" ".join(one["source"]), one["title"]) for one in ones if one.get("title")] for part, ones in read.items()}
    seen = {_plain(text) for text, _ in rows["train"]}
    known = [title for _, title in rows["train"]]

    def mistake(dice: random.Random, question: str, gold: str) -> str:
        return dice.choice(known)

    test = [(text, [title]) for text, title in rows["test"] if _plain(text) not in seen]
    return Lesson("titles", "text", _TITLE, rows["train"], test[:test_rows], mistake)


def first_sentence(question: str) -> str:
    """What is to be beaten without any learning."""
    return re.split(r"(?<=[.!?])\s", question.strip(), maxsplit=1)[0]


def _read_csv(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"].strip(), row["category"]) for row in csv.DictReader(file)]


def _spans(text: dict[str, list[dict[str, str | int]]]) -> str:
    said: dict[str, list[str]] = {}
    for span in sorted(text["spans"], key=lambda span: int(span["start_position"])):
        said.setdefault(str(span["entity_type"]), []).append(str(span["entity_value"]))
    return json.dumps(said, ensure_ascii=False)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.lower()).strip()
