"""`shoal pull NAME`: make a local model ready to serve."""

import json
from dataclasses import asdict, dataclass

import typer


@dataclass(frozen=True)
class Pulled:
    """What a program learns of a finished pull."""

    name: str
    kind: str
    engine: str
    context_tokens: int
    license: str
    path: str


def pull(
    name: str = typer.Argument(help="minnow, minnow-embed, or from a model hub: hf:org/repo or hf:org/repo/file.gguf"),
    as_json: bool = typer.Option(False, "--json", help="Print what was made ready as JSON."),
) -> None:
    """Fetch weights, check their SHA-256, convert and measure them; at once if that has been done."""
    from shoal.cli.progress import show_progress
    from shoal.mini.catalogue import find_directory, prepare
    from shoal.mini.pull import PullFailed
    from shoal.settings import home

    try:
        with show_progress(name) as progress:
            card = prepare(home(), name, progress)
    except (PullFailed, OSError) as error:
        typer.echo(f"shoal: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("shoal: stopped; the same command goes on where this one was", err=True)
        raise typer.Exit(130) from None
    path = find_directory(home(), name)
    pulled = Pulled(card.name, card.kind, card.engine, card.context_tokens, card.license, str(path))
    typer.echo(json.dumps(asdict(pulled)) if as_json else f"{card.name} is ready in {path}")
