"""The options that say a key's terms, the same for every command that takes them."""

from typing import Annotated

import typer

Total = Annotated[str | None, typer.Option("--budget", metavar="USD", help="The most it may ever spend.")]
Daily = Annotated[str | None, typer.Option(metavar="USD", help="The most it may spend on a day (UTC).")]
Weekly = Annotated[str | None, typer.Option(metavar="USD", help="The most it may spend in a week (from Monday).")]
Monthly = Annotated[str | None, typer.Option(metavar="USD", help="The most it may spend in a calendar month.")]
Rpm = Annotated[int | None, typer.Option(metavar="N", help="Requests a minute.")]
Tpm = Annotated[int | None, typer.Option(metavar="N", help="Tokens a minute.")]
Parallel = Annotated[int | None, typer.Option(metavar="N", help="Requests at a time.")]
Burst = Annotated[int | None, typer.Option(metavar="N", help="How many of its requests a minute may come at once.")]
Models = Annotated[list[str], typer.Option(metavar="NAME,...", help="The models it is for; NAME* is all that begin so.")]
Endpoints = Annotated[list[str], typer.Option(metavar="NAME,...", help="The endpoints it is for: chat, embeddings, messages, ...")]
Routes = Annotated[list[str], typer.Option(metavar="NAME,...", help="The routes it may use.")]
Retention = Annotated[str | None, typer.Option(metavar="none", help="Keep nothing of its requests but the bill.")]
Ips = Annotated[list[str], typer.Option(metavar="ADDRESS,...", help="The addresses and networks it may come from.")]
Tags = Annotated[list[str], typer.Option("--tag", metavar="TAG", help="A label of yours.")]
Metadata = Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="A label of yours that has a value.")]
Expires = Annotated[str | None, typer.Option(metavar="WHEN", help="From when on it opens nothing: 30d, 12h, 2027-01-31.")]
