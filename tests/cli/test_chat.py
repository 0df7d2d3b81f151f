"""`shoal chat`: one question from a pipe, and the conversation as a person at a terminal has it."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from shoal.cli.chat import Conversation, printable, summary
from shoal.cli.endpoint import Endpoint, Unavailable

KEY = "sk-shoal-test"
PATIENCE_S = 30.0


def run(script: Any, home: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "shoal", "chat", "--url", script.url, *arguments],
        input=stdin,
        env={**os.environ, "SHOAL_API_KEY": KEY, "SHOAL_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def conversation(script: Any) -> Conversation:
    return Conversation(Endpoint(script.url, KEY), "minnow", None, {})


def test_a_pipe_asks_and_gets_the_text_alone(script: Any, tmp_path: Path) -> None:
    done = run(script, tmp_path, stdin="What is the capital of France?\n")
    assert (done.stdout, done.stderr, done.returncode) == ("Paris.\n", "", 0)
    assert script.asked[0]["messages"] == [{"role": "user", "content": "What is the capital of France?"}]


def test_a_pipe_joins_the_question_and_flags_become_the_request(script: Any, tmp_path: Path) -> None:
    done = run(script, tmp_path, "Sum up:", "-m", "llama", "-s", "Be brief.", "--max-tokens", "5", "--json", stdin="Lorem\n")
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "Paris."
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sum up:\n\nLorem"}]
    assert script.asked == [{"model": "llama", "messages": messages, "max_tokens": 5}]


def test_a_failure_is_one_line_and_a_status(script: Any, tmp_path: Path) -> None:
    script.error_event = {"message": "The model was lost."}
    done = run(script, tmp_path, "hi")
    assert (done.stderr, done.returncode) == ("shoal: The model was lost.\n", 1)


def test_nothing_to_ask_is_said(script: Any, tmp_path: Path) -> None:
    done = run(script, tmp_path)
    assert done.returncode == 2
    assert "no question" in done.stderr


def test_the_local_key_is_used_without_being_named(script: Any, tmp_path: Path) -> None:
    from shoal.cli.local_key import write_local_key

    write_local_key(tmp_path, KEY)
    assert (tmp_path / "local.key").stat().st_mode & 0o777 == 0o600
    environment = {name: value for name, value in os.environ.items() if name != "SHOAL_API_KEY"} | {"SHOAL_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "shoal", "chat", "--url", script.url, "hi"]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout == "Paris.\n"


def test_turns_are_remembered(script: Any) -> None:
    talk = conversation(script)
    assert "".join(talk.ask("one")) == "Paris."
    assert "".join(talk.ask("two")) == "Paris."
    assert [turn["content"] for turn in script.asked[1]["messages"]] == ["one", "Paris.", "two"]
    assert talk.take_back() == "two"
    assert [turn["content"] for turn in talk.turns] == ["one", "Paris."]


def test_an_answer_cut_short_stays_and_a_question_without_one_goes(script: Any) -> None:
    talk = conversation(script)
    answer = talk.ask("one")
    assert next(answer) == "Par"
    answer.close()
    assert [turn["content"] for turn in talk.turns] == ["one", "Par"]
    script.pieces, script.error_event = [], {"message": "no"}
    with pytest.raises(Unavailable):
        list(talk.ask("two"))
    assert [turn["content"] for turn in talk.turns] == ["one", "Par"]


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07b\x9bc\r\n\té€") == "a]0;titlebc\n\té€"


def test_what_is_not_reported_is_not_shown() -> None:
    assert summary({}, 1.25) == "1.2 s"
    assert summary({"completion_tokens": 3, "cost": 0.0000012}, 0.5) == "3 tokens in 0.5 s · $0.000001"


class Terminal:
    """`shoal chat` on a pseudo-terminal."""

    def __init__(self, script: Any, home: Path) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "SHOAL_API_KEY": KEY, "SHOAL_HOME": str(home), "TERM": "dumb"}
        command = [sys.executable, "-m", "shoal", "chat", "--url", script.url]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True)
        os.close(slave)
        self.seen = b""

    def wait_for(self, text: str) -> str:
        """What was shown up to `text`, which is taken away."""
        deadline = time.monotonic() + PATIENCE_S
        while text.encode() not in self.seen:
            assert select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0], f"no {text!r} in {self.seen[-200:]!r}"
            self.seen += os.read(self.master, 4096)
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode()

    def wait_for_rest(self) -> None:
        """Until it waits for a key: readline overlooks a signal that comes between the prompt and that."""
        process = psutil.Process(self.process.pid)
        deadline = time.monotonic() + PATIENCE_S
        while process.status() != psutil.STATUS_SLEEPING:
            assert time.monotonic() < deadline

    def type(self, line: str) -> None:
        """A line and Enter."""
        os.write(self.master, line.encode() + b"\n")

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_a_conversation_at_the_terminal(script: Any, tmp_path: Path) -> None:
    terminal = Terminal(script, tmp_path)
    try:
        terminal.wait_for("/help for commands")
        terminal.wait_for("›")
        terminal.type("hello")
        terminal.wait_for("Paris.")
        terminal.wait_for("3 tokens in")
        script.endless = True
        terminal.type("go on")
        terminal.wait_for("and on and on")
        terminal.process.send_signal(signal.SIGINT)  # stops the answer ...
        terminal.wait_for("stopped")
        assert script.hung_up.wait(PATIENCE_S)
        terminal.wait_for("›")
        terminal.wait_for_rest()
        terminal.process.send_signal(signal.SIGINT)  # ... but at the prompt does not end the program
        terminal.wait_for("to leave")
        terminal.type("/model llama")
        terminal.wait_for("now talking to llama")
        terminal.type("/nonsense")
        terminal.wait_for("is not a command")
        terminal.type("/exit")
        assert terminal.process.wait(PATIENCE_S) == 0
    finally:
        terminal.close()
