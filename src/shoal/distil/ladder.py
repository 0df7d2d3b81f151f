"""What kind of task it is, and the cheapest student that can hold it: rungs are tried from the cheapest up, and measured on dev.

The first that is good enough wins; where none is, the best of them, and the caller is told so.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from shoal.distil.student import Kind
from shoal.evals import graders

_LONGEST_LABEL = 100  # characters; longer answers are sentences
_MOST_UNSEEN = 0.1
_MOST_STRAY = 0.05  # teachers ramble now and then
_MOST_RATINGS = 20


def kind_of(answers: Sequence[str]) -> tuple[Kind, tuple[str, ...]]:
    """What a task's answers are, and the closed set of them where they are labels (in their commonest spelling, sorted).

    A set is closed when few answers were seen only once, which estimates how often a new one would come (Good 1953). Up to 5% of the
    answers may be of another kind. Raises ValueError when there are no answers.
    """
    if not answers:
        raise ValueError("there are no answers, so nothing can be learnt from them")
    most_stray = _MOST_STRAY * len(answers)
    if sum(not _is_object(answer) for answer in answers) <= most_stray:
        return "json", ()
    short = [answer.strip() for answer in answers if _may_be_label(answer)]
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in short:
        spellings[graders.normalise_label(answer)][answer] += 1
    once = sum(spelt.total() == 1 for spelt in spellings.values())
    closed = len(answers) - len(short) <= most_stray and once <= _MOST_UNSEEN * len(short)
    if sum(not graders.is_number(answer) for answer in answers) <= most_stray and not (closed and len(spellings) <= _MOST_RATINGS):
        return "number", ()
    if closed:
        return "label", tuple(sorted(min(spelt, key=lambda text: (-spelt[text], text)) for spelt in spellings.values()))
    return "text", ()


def _may_be_label(answer: str) -> bool:
    return 0 < len(answer.strip()) <= _LONGEST_LABEL and "\n" not in answer.strip()


def _is_object(answer: str) -> bool:
    """Whether an answer is a JSON object or list."""
    try:
        return isinstance(graders.read_json(answer), dict | list)
    except ValueError:
        return False
