"""`shoal models`: what this installation can answer with, without asking a running server."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import typer


@dataclass(frozen=True)
class Row:
    """A model's name, who answers for it, and whether it is there to be used."""

    id: str
    kind: str
    providers: list[str]
    context_tokens: int | None
    ready: bool


def models(
    config: Path | None = typer.Option(None, envvar="SHOAL_CONFIG", help="The TOML configuration.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List the local weights and the models that the configuration names."""
    from shoal.settings import BadSettings

    try:
        rows = list_rows(config)
    except (BadSettings, OSError) as error:
        typer.echo(f"shoal: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"models": [asdict(row) for row in rows]}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "kind", "answered by", "context", "ready", box=None)
    for row in rows:
        context = "" if row.context_tokens is None else f"{row.context_tokens:,}"
        table.add_row(row.id, row.kind, ", ".join(row.providers), context, "yes" if row.ready else f"no: shoal pull {row.id}")
    Console(highlight=False).print(table)


def list_rows(config: Path | None) -> list[Row]:
    """Local models first, then their students, then those of the configuration. Errors: BadSettings."""
    from shoal.mini.catalogue import list_models
    from shoal.mini.pull import read_rows
    from shoal.mini.shelf import list_students
    from shoal.settings import home, load

    settings = load(config)
    cards = {card.name: card for card in list_models(home())}
    local = [Row(name, card.kind, ["mini"], card.context_tokens, ready=True) for name, card in cards.items()]
    for one in list_students(home()):
        names = [str(one.name.alias), one.id] if one.current else [one.id]
        local += [Row(name, one.card.kind, ["mini"], one.card.context_tokens, ready=True) for name in names]
    missing = [Row(name, row.kind, ["mini"], row.context_tokens, ready=False) for name, row in read_rows().items() if name not in cards]
    configured = [
        Row(name, "", [deployment.provider for deployment in model.deployments], None, ready=True)
        for name, model in sorted(settings.models.items())
    ]
    return [*local, *missing, *configured]
