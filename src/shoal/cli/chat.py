"""`shoal chat`: a conversation in the terminal, or one question from a pipe or the command line.

Guarantees: Ctrl-C stops the answer, not the program, and what was said so far stays in the conversation; control characters in an
answer never reach the terminal.
"""

import json
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import typer

HELP = """/clear          forget the conversation
/model [NAME]   say or change the model      /models   list them
/system [TEXT]  set or remove the system prompt
/retry          ask the last question again
/exit           leave (or Ctrl-D); Ctrl-C stops an answer"""


def chat(
    message: str | None = typer.Argument(None, help="Ask this one question and leave; text from a pipe is added below it."),
    model: str = typer.Option("minnow", "--model", "-m", help="Which model to talk to."),
    system: str | None = typer.Option(None, "--system", "-s", help="The system prompt."),
    url: str = typer.Option("http://127.0.0.1:8400", envvar="SHOAL_URL", help="The server."),
    key: str | None = typer.Option(None, envvar="SHOAL_API_KEY", help="The key; by default this machine's own.", show_default=False),
    max_tokens: int | None = typer.Option(None, min=1, help="The longest answer, in tokens; 1024 for this machine's own model."),
    temperature: float | None = typer.Option(None, min=0, max=2, help="0 always chooses the likeliest word."),
    as_json: bool = typer.Option(False, "--json", help="With one question: print the whole answer as JSON."),
) -> None:
    """Talk to a model of a running server."""
    from shoal.cli.endpoint import Endpoint, Unavailable
    from shoal.cli.local_key import read_local_key
    from shoal.settings import home

    sampling = {"max_tokens": max_tokens, "temperature": temperature}
    try:
        talk = Conversation(
            Endpoint(url, key or read_local_key(home())), model, system, {k: v for k, v in sampling.items() if v is not None}
        )
        if message is not None or not sys.stdin.isatty():
            ask_once(talk, one_question(message), as_json)
        else:
            converse(talk)
    except Unavailable as error:
        typer.echo(f"shoal: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@dataclass
class Conversation:
    """What was said, with whom; an answer joins it even when it was cut short."""

    endpoint: Any
    model: str
    system: str | None
    sampling: dict[str, Any]
    turns: list[dict[str, str]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The request for the next answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        bounded = {"max_tokens": 1024} if self.model.startswith("minnow") else {}  # a small model may not find an end
        return {"model": self.model, "messages": [*system, *self.turns], **bounded, **self.sampling}

    def ask(self, question: str) -> Generator[str, None, None]:
        """Stream the answer's text."""
        self.turns.append({"role": "user", "content": question})
        said: list[str] = []
        events = self.endpoint.stream("/chat/completions", self.body() | {"stream": True, "stream_options": {"include_usage": True}})
        try:
            for event in events:
                self.usage = event.get("usage") or self.usage
                for choice in event.get("choices", ()):
                    if text := (choice.get("delta") or {}).get("content"):
                        said.append(text)
                        yield text
        finally:
            events.close()  # closes the connection, so that nobody computes what nobody reads
            if said:
                self.turns.append({"role": "assistant", "content": "".join(said)})
            else:
                self.turns.pop()

    def take_back(self) -> str | None:
        """Forget the last question and its answer; returns the question."""
        while self.turns:
            turn = self.turns.pop()
            if turn["role"] == "user":
                return turn["content"]
        return None


def one_question(message: str | None) -> str:
    """The question from the command line, the pipe, or both."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    question = "\n\n".join(part for part in (message, piped.strip()) if part)
    if not question:
        raise typer.BadParameter("there is no question: give one as an argument or on standard input")
    return question


def ask_once(talk: Conversation, question: str, as_json: bool) -> None:
    """One answer on standard output, as it comes, or whole as JSON."""
    if as_json:
        talk.turns.append({"role": "user", "content": question})
        typer.echo(json.dumps(talk.endpoint.post("/chat/completions", talk.body()), ensure_ascii=False))
        return
    for text in talk.ask(question):
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()
    sys.stdout.write("\n")


def printable(text: str) -> str:
    """Without control characters, which could move the cursor, retitle the window or worse."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))


def converse(talk: Conversation) -> None:
    """The conversation at the terminal, until /exit or the end of input."""
    import readline  # noqa: F401 - gives input() line editing and history
    import signal

    from rich.console import Console

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script that starts us may have left Ctrl-C ignored
    console = Console(highlight=False)
    known = [row["id"] for row in talk.endpoint.get("/models")["data"]]  # fails now, not after the first question
    console.print(f"[bold]{talk.model}[/] at {talk.endpoint.url} [dim]· /help for commands, Ctrl-D to leave[/]")
    while True:
        try:
            line = read_lines()
        except KeyboardInterrupt:
            console.print("\n[dim]Ctrl-D or /exit to leave[/]")
            continue
        except EOFError:
            console.print()
            return
        if line == "/exit":
            return
        question = obey(talk, line, known, console) if line.startswith("/") else line
        if question:
            show_answer(talk, question, console)


def read_lines() -> str:
    r"""One message: a line ending in \ goes on in the next."""
    line = input("\n› ").rstrip()
    while line.endswith("\\"):
        line = line[:-1] + "\n" + input("… ").rstrip()
    return line.strip()


def obey(talk: Conversation, line: str, known: list[str], console: Any) -> str | None:
    """Carry out a /command; returns a question to ask, if that is what it means."""
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if command == "/retry":
        return talk.take_back()
    if command == "/clear":
        talk.turns.clear()
        said = "forgotten"
    elif command == "/model" and rest:
        talk.model = rest
        said = f"now talking to {rest}" + ("" if rest in known else " (not among /models; it may still be known to the server)")
    elif command == "/model":
        said = talk.model
    elif command == "/models":
        said = "\n".join(known)
    elif command == "/system":
        talk.system = rest or None
        said = "system prompt set" if rest else "system prompt removed"
    else:
        said = HELP if command == "/help" else f"{command} is not a command\n{HELP}"
    console.print(said, style="dim", markup=False)
    return None


def show_answer(talk: Conversation, question: str, console: Any) -> None:
    """Stream one answer and, below it, what it took."""
    from shoal.cli.endpoint import Unavailable

    started, talk.usage = time.monotonic(), {}
    answer = talk.ask(question)
    try:
        for text in answer:
            console.file.write(printable(text))
            console.file.flush()
    except KeyboardInterrupt:
        answer.close()
        console.print("\n[dim]stopped[/]")
        return
    except Unavailable as error:
        console.print(f"\n{error}", style="red", markup=False)
        return
    console.print("\n" + summary(talk.usage, time.monotonic() - started), style="dim", markup=False)


def summary(usage: dict[str, Any], elapsed_s: float) -> str:
    """`42 tokens in 0.7 s · $0.000001`: what the server reported, nothing guessed."""
    words = f"{elapsed_s:.1f} s"
    if tokens := usage.get("completion_tokens"):
        words = f"{tokens} tokens in {words}"
    if isinstance(cost := usage.get("cost"), int | float):
        words += f" · ${cost:.6f}"
    return words
