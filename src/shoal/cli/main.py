"""The command `shoal`: mounts one verb a file. Every verb imports what it needs when it runs, so that --help answers at once."""

import sys

import typer

import shoal
from shoal.cli import (
    audit,
    backup,
    bench,
    chat,
    credits,
    distil,
    keys,
    ledger,
    members,
    models,
    orgs,
    projects,
    providers,
    pull,
    serve,
    students,
    usage,
)

app = typer.Typer(
    help="One OpenAI-compatible endpoint for every language model, with a small model of your own behind it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(name="serve")(serve.serve)
app.add_typer(keys.app, name="keys")
app.add_typer(orgs.app, name="orgs")
app.add_typer(projects.app, name="projects")
app.add_typer(members.app, name="members")
app.add_typer(credits.app, name="credits")
app.command(name="usage")(usage.usage)
app.command(name="audit")(audit.audit)
app.add_typer(ledger.app, name="ledger")
app.command(name="backup")(backup.backup)
app.command(name="restore")(backup.restore)
app.add_typer(providers.app, name="providers")
app.command(name="models")(models.models)
app.command(name="pull")(pull.pull)
app.add_typer(distil.app, name="distil")
app.add_typer(students.app, name="students")
app.command(name="chat")(chat.chat)
app.command(name="bench")(bench.bench)


def show_version(wanted: bool) -> None:
    """Print the version and leave, when wanted."""
    if wanted:
        typer.echo(f"shoal {shoal.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True, callback=show_version),
) -> None:
    """One OpenAI-compatible endpoint for every language model, with a small model of your own behind it."""


def main() -> None:
    """The console script's entry: a reader that leaves early (`shoal models | head`) is no error."""
    try:
        app(prog_name="shoal")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
