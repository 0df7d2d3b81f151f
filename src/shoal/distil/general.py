"""A small general check: what a generative student has forgotten of what its base could do, by a few questions with exact answers.

A student of one task need not pass it; whoever would use it for something else should know. Heads have nothing to forget.
"""

from collections.abc import Mapping

from shoal.distil.student import Answers

QUESTIONS: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "facts": (
        ("What is the capital of France?", ("paris",)),
        ("What is the capital of Japan?", ("tokyo",)),
        ("What is the capital of Italy?", ("rome",)),
        ("Which planet is closest to the sun?", ("mercury",)),
        ("How many days are there in a week?", ("seven", "7")),
        ("What is the chemical formula of water?", ("h2o", "h₂o")),
        ("Which ocean lies between Europe and North America?", ("atlantic",)),
        ("What gas do plants take in from the air?", ("carbon dioxide", "co2")),
    ),
    "sums": (
        ("What is 2 + 3? Answer with the number.", ("5", "five")),
        ("What is 10 - 4? Answer with the number.", ("6", "six")),
        ("What is 3 times 4? Answer with the number.", ("12", "twelve")),
        ("What is half of 20? Answer with the number.", ("10", "ten")),
    ),
    "language": (
        ("What is the opposite of hot?", ("cold",)),
        ("What is the plural of child?", ("children",)),
        ("Translate the French word 'chat' into English.", ("cat",)),
        ("Which word means the same as 'big': large or tiny?", ("large",)),
    ),
    "instructions": (
        ("Repeat this word and say nothing else: banana", ("banana",)),
        ("Answer with yes or no: is ice cold?", ("yes",)),
        ("Name one colour of the rainbow.", ("red", "orange", "yellow", "green", "blue", "indigo", "violet")),
        ("Write the letters A, B and C in this order.", ("a b c", "a b and c", "abc")),
    ),
}


def check(model: Answers) -> dict[str, float]:
    """The share of questions that a model answers, by sort: an answer counts when it holds one of the expected words."""
    asked = [(sort, question, expected) for sort, ones in QUESTIONS.items() for question, expected in ones]
    said = model.answer([[{"role": "user", "content": question}] for _, question, _ in asked])
    right: dict[str, list[bool]] = {sort: [] for sort in QUESTIONS}
    for (sort, _, expected), answer in zip(asked, said, strict=True):
        right[sort].append(any(_holds(answer, word) for word in expected))
    return {sort: sum(ones) / len(ones) for sort, ones in right.items()}


def compare(base: Mapping[str, float], student: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Before and after, by sort."""
    return {sort: (score, student[sort]) for sort, score in base.items()}


def _holds(answer: str, expected: str) -> bool:
    """Whether the words of an answer hold the expected ones, whole."""
    words = " ".join("".join(c if c.isalnum() else " " for c in answer.lower()).split())
    return f" {expected} " in f" {words} "
