"""`shoal serve`: settings from flags and file, what must be ready before a start, and the words that greet whoever starts it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from shoal.settings import Settings

QUESTION = '{"model": "%s", "messages": [{"content": "What is the capital of France?", "role": "user"}]}'


def serve(
    config: Path | None = typer.Option(None, envvar="SHOAL_CONFIG", help="The TOML configuration.", show_default=False),
    host: str | None = typer.Option(None, help="Where to listen; 0.0.0.0 for every address. [default: 127.0.0.1]", show_default=False),
    port: int | None = typer.Option(None, min=0, max=65535, help="0 takes any free port. [default: 8400]", show_default=False),
    workers: int | None = typer.Option(None, min=1, max=256, help="Gateway processes. [default: 1]", show_default=False),
    no_mini: bool = typer.Option(False, "--no-mini", help="Serve other upstreams only, without the local model."),
) -> None:
    """Serve until Ctrl-C (or SIGTERM): streams finish first; a second Ctrl-C ends at once."""
    from shoal.core.errors import Fault
    from shoal.mini.pull import PullFailed
    from shoal.settings import BadSettings, home
    from shoal.supervisor import CannotListen, bind
    from shoal.wiring import installation

    try:
        settings = read_settings(config, host, port, workers, no_mini)
        installation.check(settings, config)
        for line in installation.warn(settings, home()):
            typer.echo(f"shoal: {line}", err=True)
        bind(settings.server.host, settings.server.port).close()  # a taken port is said before a minute of preparation
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        if settings.mini.enabled:
            prepare_mini(home(), settings.mini.model)
        secret = make_first_key(settings, home())
        status = installation.run(settings, config, home(), lambda url: greet(settings, home(), url, secret))
    except (BadSettings, CannotListen, PullFailed, Fault, OSError) as error:
        typer.echo(f"shoal: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("shoal: stopped before it served; the next start goes on where this one was", err=True)
        raise typer.Exit(130) from None
    raise typer.Exit(status)


def read_settings(config: Path | None, host: str | None, port: int | None, workers: int | None, no_mini: bool) -> "Settings":
    """The file's settings (or the defaults) with the flags on top. Errors: BadSettings."""
    import msgspec

    from shoal.settings import load

    settings = load(config)
    flags = {"host": host, "port": port, "workers": workers}
    server = msgspec.structs.replace(settings.server, **{name: value for name, value in flags.items() if value is not None})
    mini = msgspec.structs.replace(settings.mini, enabled=settings.mini.enabled and not no_mini)
    return msgspec.structs.replace(settings, server=server, mini=mini)


def prepare_mini(home: Path, model: str) -> None:
    """Fetch and convert the weights that are not here yet. Errors: PullFailed."""
    from shoal.cli.progress import show_progress
    from shoal.mini.catalogue import EMBEDDING, prepare, prepared

    for name in (model, EMBEDDING):
        if not prepared(home, name):
            with show_progress(name) as progress:
                prepare(home, name, progress)


def make_first_key(settings: "Settings", home: Path) -> str | None:
    """The secret of the key "local" where the store never had one, kept as this machine's own; None otherwise. Errors: Fault."""
    from shoal.cli.local_key import read_local_key, write_local_key

    if read_local_key(home) and (settings.storage.url or (home / "shoal.db").exists()):
        return None  # the usual start: nothing heavy is imported
    # in a process of its own: the parent stays for long, and needs no database
    make = [sys.executable, "-m", "shoal.cli.local_key", str(settings.storage.url or home / "shoal.db")]
    done = subprocess.run(make, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise typer.Exit(1)  # it has said why
    secret = done.stdout.strip() or None
    if secret is not None:
        write_local_key(home, secret)
    return secret


def greet(settings: "Settings", home: Path, url: str, secret: str | None) -> None:
    """Say where it serves, how to get a key, and a line to paste."""
    from shoal.cli.local_key import FILE, read_local_key

    command = shutil.which("shoal") or str(Path(sys.executable).with_name("shoal"))
    model = settings.mini.model if settings.mini.enabled else next(iter(settings.models), "MODEL")
    lines = [f"Shoal serves on {url}    (Ctrl-C stops it)", ""]
    if secret is not None:
        lines += ["A first key, shown this once:", f"  KEY={secret}"]
    elif read_local_key(home):
        lines += ["This machine's own key:", f"  KEY=$(cat '{home / FILE}')"]
    lines += [
        "More keys:",
        f"  {command} keys create NAME",
        "Try it:",
        f"""  curl {url}/openai/v1/chat/completions -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\""",
        f"    --data '{QUESTION % model}'",
        "Or talk:",
        f"  {command} chat" + ("" if url == "http://127.0.0.1:8400" else f" --url {url}"),
    ]
    print("\n" + "\n".join(lines) + "\n", flush=True)
