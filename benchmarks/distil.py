"""What a mini keeps of its teacher, and at what cost: `python benchmarks/distil.py --data DIRECTORY --weights DIRECTORY [--only NAME,...]`.

    intents500, intents     77 intents of a bank's customers, from 500 logged calls and from all
    extraction              personal data as JSON, templates held out
    titles                  abstract to title, with what is lost by 8 and 4 bits a weight

open_box.py measures students that learn from the whole distributions of an open teacher, and sparse ones.
The teacher is a scripted upstream behind a real gateway. It answers with the data's recorded answer, but 8% of the time with a plausible
wrong one, and costs what gpt-4o costs. Every call of the training part goes through the gateway and is stored; a job learns from what is
stored; teacher and student are asked the test part through the gateway, and both are graded against gold. See lessons.py for the data.
"""

import concurrent.futures
import http.client
import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import harness
import lessons
import report
from harness import BENCH, Process, Shoal, Trouble
from lessons import Lesson
from report import Verdict, percentile, print_table

from shoal.evals import graders, stats

TEACHER = "gpt-4o"
AT_ONCE = 8
LOOK_S = 1.0
TASKS: dict[str, Callable[[Path, bool], Lesson]] = {
    "intents500": lambda data, quick: lessons.banking(data, 500, 200 if quick else None),
    "intents": lambda data, quick: lessons.banking(data, 1500 if quick else None, 200 if quick else None),
    "extraction": lambda data, quick: lessons.extraction(data, 60 if quick else None),
    "titles": lambda data, quick: lessons.titles(data, 20 if quick else None),
}
WANTED = {"intents500": 0.85, "intents": 0.95, "extraction": 0.90}
LEFT = {"int8": 0.99, "int4": 0.97}
CHEAPER, MOST_MINUTES = 10.0, 60.0


class Asked(NamedTuple):
    """What a model said to all questions, what it cost in USD, and how long each took."""

    answers: list[str]
    cost_usd: float
    tokens: int
    seconds: list[float]
    wall_s: float


class Gateway:
    """A client with a connection for every thread."""

    def __init__(self, shoal: Shoal) -> None:
        self._host, self._port = "127.0.0.1", int(shoal.url.split(":")[2].split("/")[0])
        self._headers = {**shoal.headers, "content-type": "application/json"}
        self._mine = threading.local()

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """One request that must succeed; its JSON."""
        if not hasattr(self._mine, "connection"):
            self._mine.connection = http.client.HTTPConnection(self._host, self._port, timeout=600)
        connection: http.client.HTTPConnection = self._mine.connection
        connection.request(method, f"/v1{path}", None if body is None else json.dumps(body), self._headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Trouble(f"{method} {path} answered {answer.status}: {text[:500].decode(errors='replace')}")
        return json.loads(text)

    def ask(self, model: str, lesson: Lesson, questions: Sequence[str], **more: Any) -> Asked:
        """Every question, some at once."""

        def one(question: str) -> tuple[str, float, int, float]:
            began = time.perf_counter()
            said = self.send("POST", "/chat/completions", {"model": model, "messages": lesson.messages(question), "temperature": 0, **more})
            usage = said["usage"]
            cost = float(usage.get("cost") or 0.0)
            return said["choices"][0]["message"]["content"], cost, usage["total_tokens"], time.perf_counter() - began

        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            rows = list(pool.map(one, questions))
        wall_s = time.perf_counter() - began
        return Asked([row[0] for row in rows], sum(row[1] for row in rows), sum(row[2] for row in rows), [row[3] for row in rows], wall_s)


def config(teacher_port: int) -> str:
    """The teacher as a provider at gpt-4o's list price, and leave to learn from it."""
    return (
        f'[providers.school]\ndialect = "openai_chat"\nbase_url = "http://127.0.0.1:{teacher_port}/v1"\napi_key = "sk-upstream"\n\n'
        f'[models."{TEACHER}"]\ndeployments = [{{ provider = "school", model = "{TEACHER}", price_like = "openai/{TEACHER}" }}]\n\n'
        '[distil]\nlicence_overrides = [{ match = ["school/*"], reason = "its answers are the data set\'s own" }]\n'
    )


def learn(gateway: Gateway, name: str, lesson: Lesson, kinds: Sequence[str]) -> tuple[dict[str, Any], float]:
    """Store the teacher's answers, let a job learn from them, and wait; the job, and the minutes that it took."""
    gateway.ask(TEACHER, lesson, [question for question, _ in lesson.train], store=True, metadata={"lesson": name})
    plan: dict[str, Any] = {"target_quality": 0.5, "logs": {"metadata": {"lesson": name}}, "pii": "keep"}
    plan["held_out"] = 0.05 if len(lesson.train) < 1000 else 0.1  # of few calls most are to be learnt from
    plan |= {"students": list(kinds)} if kinds else {}
    wish = {"model": "minnow", "suffix": name, "seed": 1, "method": {"type": "distillation", "distillation": plan}}
    began = time.monotonic()
    job = gateway.send("POST", "/fine_tuning/jobs", wish)
    told: set[str] = set()
    while job["status"] not in ("succeeded", "failed", "cancelled"):
        time.sleep(LOOK_S)
        job = gateway.send("GET", f"/fine_tuning/jobs/{job['id']}")
        for event in reversed(gateway.send("GET", f"/fine_tuning/jobs/{job['id']}/events?limit=50")["data"]):
            if event["id"] not in told and event["type"] == "message":
                print(f"    {event['message']}", flush=True)
            told.add(event["id"])
    if job["status"] != "succeeded":
        raise Trouble(f"the job {job['id']} {job['status']}: {(job['error'] or {}).get('message')}")
    return job, (time.monotonic() - began) / 60


def grade(lesson: Lesson, said: Sequence[str]) -> list[float]:
    """How right each answer is, 0 to 1, against gold."""
    golds = [gold for _, gold in lesson.test]
    return [
        graders.grade(lesson.kind, answer, gold if lesson.kind == "text" else gold[0]) for answer, gold in zip(said, golds, strict=True)
    ]  # type: ignore[arg-type]


def compare(lesson: Lesson, student: Sequence[str], teacher: Sequence[str]) -> tuple[float, float, float, float]:
    """Scores of student and teacher, their ratio and its lower 95% bound; F1 over all fields where answers are JSON."""
    if lesson.kind == "json":
        golds = [gold[0] for _, gold in lesson.test]
        mine, theirs = ([graders.tally(answer, gold) for answer, gold in zip(said, golds, strict=True)] for said in (student, teacher))
        ratio, lower = stats.f1_ratio_lower_bound(mine, theirs)
        return stats.micro_f1(mine), stats.micro_f1(theirs), ratio, lower
    mine_scores, their_scores = grade(lesson, student), grade(lesson, teacher)
    ratio, lower = stats.ratio_lower_bound(mine_scores, their_scores)
    return sum(mine_scores) / len(mine_scores), sum(their_scores) / len(their_scores), ratio, lower


def score_words(lesson: Lesson) -> float:
    """TF-IDF of words and a linear SVM, trained on the very same answers of the teacher's."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    answers = lesson.answers()
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC())
    model.fit([question for question, _ in lesson.train], [answers[question] for question, _ in lesson.train])
    said = model.predict([question for question, _ in lesson.test])
    return sum(grade(lesson, [str(one) for one in said])) / len(lesson.test)


def measure(gateway: Gateway, name: str, lesson: Lesson, kinds: Sequence[str], verdict: Verdict) -> list[dict[str, Any]]:
    """One task: the lines of its table."""
    print(f"\n{lesson.name}: {len(lesson.train)} to learn from, {len(lesson.test)} to be judged by", flush=True)
    questions = [question for question, _ in lesson.test]
    job, minutes = learn(gateway, name, lesson, kinds)
    teacher = gateway.ask(TEACHER, lesson, questions)
    student = gateway.ask(job["fine_tuned_model"], lesson, questions)
    mine, theirs, ratio, lower = compare(lesson, student.answers, teacher.answers)
    cheaper = teacher.cost_usd / student.cost_usd if student.cost_usd else float("inf")
    lines = [_line(lesson.name, "teacher", theirs, teacher), _line("", job["fine_tuned_model"], mine, student)]
    lines[-1] |= {"of teacher": ratio, "at least": lower, "cheaper": cheaper, "minutes": minutes}
    if name in WANTED:
        verdict.at_least(f"{name}: student over teacher, lower 95% bound", lower, WANTED[name])
    verdict.at_least(f"{name}: times cheaper than its teacher", cheaper, CHEAPER)
    verdict.at_most(f"{name}: minutes of training", minutes, MOST_MINUTES)
    if lesson.kind == "label":
        words = score_words(lesson)
        lines.append({"task": "", "who": "TF-IDF and a linear SVM", "score": words, "of teacher": words / theirs})
        verdict.at_least(f"{name}: score less that of TF-IDF and a linear SVM", mine - words, 0.0)
    if lesson.kind == "text":
        first = sum(grade(lesson, [lessons.first_sentence(one) for one in questions])) / len(questions)
        untrained = gateway.ask("minnow", lesson, questions, max_tokens=64)
        plain = sum(grade(lesson, untrained.answers)) / len(questions)
        lines += [{"task": "", "who": "first sentence", "score": first}, _line("", "minnow, untrained", plain, untrained)]
        verdict.at_least(f"{name}: ROUGE-L over the first sentence's", mine / first, 2.0)
        verdict.at_least(f"{name}: ROUGE-L over the untrained minnow's", mine / plain, 1.5)
    return lines


def _line(task: str, who: str, score: float, asked: Asked) -> dict[str, Any]:
    return {
        "task": task,
        "who": who,
        "score": score,
        "usd per 1000": asked.cost_usd / len(asked.answers) * 1000,
        "p50 ms": percentile(asked.seconds, 0.5) * 1000,
        "answers/s": len(asked.answers) / asked.wall_s,
    }


COLUMNS = ("task", "who", "score", "of teacher", "at least", "usd per 1000", "cheaper", "p50 ms", "answers/s", "minutes")


def main() -> None:
    """Run the tasks that were named."""
    options = report.parser(__doc__)
    options.add_argument("--data", type=Path, required=True, help="the directory that holds the data sets")
    options.add_argument("--weights", type=Path, required=True, help="a home whose weights are prepared: HOME/weights is copied, by links")
    options.add_argument("--only", default=",".join(TASKS), help=f"of {', '.join(TASKS)}")
    options.add_argument("--students", default="", help="which kinds of students may be tried, with commas; all, without")
    given = options.parse_args()
    machine = report.introduce("distil", given.markdown)
    verdict = Verdict()
    lines: list[dict[str, Any]] = []
    with harness.workplace() as (place, started):
        for name in given.only.split(","):
            lesson = TASKS[name](given.data, given.quick)
            (place / "answers.json").write_text(json.dumps(lesson.answers()))
            port = harness.find_port()
            school = [harness.shoal_python(), str(Path(__file__).with_name("schoolmaster.py")), str(port), str(place / "answers.json")]
            started.append(Process("schoolmaster", school))
            home = place / name
            copy_weights(given.weights / "weights", home / "weights")
            shoal = Shoal(home, config(port), None, mini=True, name=f"shoal-{name}")
            started.append(shoal.process)
            allow_training(shoal)
            question = {"model": TEACHER, "messages": lesson.messages(lesson.train[0][0])}
            harness.await_answer(shoal.process, shoal.url, shoal.headers, question)
            lines += measure(Gateway(shoal), name, lesson, [one for one in given.students.split(",") if one], verdict)
            lines += read_losses(home, name, verdict)
            keep_report(home, name)
            for process in (started.pop(), started.pop()):
                process.stop()
    print_table("Students and their teachers", COLUMNS, [[line.get(column, "") for column in COLUMNS] for line in lines], given.markdown)
    verdict.show(given.markdown)
    report.save("distil", machine, {"lines": lines}, verdict)


def read_losses(home: Path, name: str, verdict: Verdict) -> list[dict[str, Any]]:
    """What the job lost by compressing its student, where it did."""
    lines: list[dict[str, Any]] = []
    for path in home.glob("jobs/*/figures.json"):
        for loss in json.loads(path.read_text())["quantised"]:
            share = loss["score"] / loss["score_before"] if loss["score_before"] else 1.0
            lines.append({"task": "", "who": f"{loss['bits']} instead of f32, on dev", "score": loss["score"], "of teacher": share})
            verdict.at_least(f"{name}: {loss['bits']} over f32", share, LEFT[loss["bits"]])
    return lines


def allow_training(shoal: Shoal) -> None:
    """What the project keeps may teach."""
    shoal.command("projects", "update", "default", "--may-train")


def copy_weights(source: Path, target: Path) -> None:
    """The prepared models, by hard links where the disk is the same."""
    for model in ("minnow", "minnow-embed"):
        if not (source / model).is_dir():
            raise Trouble(f"{source} has no {model}: `SHOAL_HOME={source.parent} shoal pull {model}` prepares it")
        shutil.copytree(source / model, target / model, symlinks=True)


def keep_report(home: Path, name: str) -> None:
    """The job's own report, beside the record."""
    for page in home.glob("jobs/*/report.html"):
        shutil.copy(page, BENCH / f"distil-{name}.html")


if __name__ == "__main__":
    harness.run(main)
