"""`bollard rejected …`: the rows that the store could not take."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway.book import Book, Refused
from gateway.config import ShoreSettings, load_shore
from gateway.errors import GatewayError
from gateway.rejected import reasons
from gateway.rejected import replay as replay_rows

app = typer.Typer(
    help="Rows that the store could not take: list, show, replay, drop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Shore = Annotated[Path, typer.Option(help="the shore file", show_default=False)]
Site = Annotated[str | None, typer.Option(help="of this site only")]
Gateway = Annotated[str | None, typer.Option(help="of this gateway only")]
Reason = Annotated[str | None, typer.Option(help="only where the reason contains this text")]


@app.command("list")
def list_(shore: Shore, site: Site = None, gateway: Gateway = None, reason: Reason = None) -> None:
    """How many rows were refused, by gateway and reason; then messages that could not be read."""
    with _book(shore) as (_, book):
        for where, who, why, count in reasons(_chosen(book, site, gateway, reason)):
            print(f"{count} rows {where}/{who}: {why}")
        for message in book.malformed():
            parts = [*message.topic.split("/"), "", "", ""]
            fits = site in (None, parts[2]) and gateway in (None, parts[3])
            if fits and (reason is None or reason in message.reason):
                print(f"{message.times} messages {message.topic}: {message.reason}")


@app.command()
def show(
    shore: Shore, site: Site = None, gateway: Gateway = None, reason: Reason = None,
    most: Annotated[int, typer.Option(min=1, help="print at most so many")] = 100,
) -> None:  # fmt: skip
    """The rows themselves, as they came: batch, line, reason; then the text."""
    with _book(shore) as (_, book):
        rows = _chosen(book, site, gateway, reason)
        for row in rows[:most]:
            print(f"{row.site}/{row.gateway} batch {row.batch} line {row.line}: {row.reason}")
            print(f"  {row.text}")
        if len(rows) > most:
            print(f"{len(rows) - most} more; give --most", file=sys.stderr)


@app.command()
def replay(shore: Shore, site: Site = None, gateway: Gateway = None, reason: Reason = None) -> None:
    """Try again, once the cause is gone. Exit code 3 if rows are still refused; they stay, with the new reason."""
    with _book(shore) as (settings, book), closing(settings.store.open()) as store:
        store.remember_types(book)
        done = replay_rows(_chosen(book, site, gateway, reason), store, book, settings.production)
        book.add({"replayed": done.stored})
    print(f"{done.stored} rows stored, {done.refused} still refused")
    raise typer.Exit(3 if done.refused else 0)


@app.command()
def drop(
    shore: Shore, site: Site = None, gateway: Gateway = None, reason: Reason = None,
    yes: Annotated[bool, typer.Option("--yes", help="do it: there is no other copy of these rows")] = False,
) -> None:  # fmt: skip
    """Give rows up for good. Without --yes only says how many."""
    with _book(shore) as (_, book):
        rows = _chosen(book, site, gateway, reason)
        if yes:
            book.forget_refused(rows)
            book.add({"given_up": len(rows)})
    print(f"{len(rows)} rows {'dropped' if yes else 'would be dropped; give --yes'}")


def _chosen(book: Book, site: str | None, gateway: str | None, reason: str | None) -> list[Refused]:
    return [row for row in book.refused(site, gateway) if reason is None or reason in row.reason]


@contextmanager
def _book(shore: Path) -> Iterator[tuple[ShoreSettings, Book]]:
    """The book of a shore file; an error of ours is one sentence and its exit code."""
    try:
        settings = load_shore(shore)
        with closing(Book(settings.book.path, create=False)) as book:
            yield settings, book
    except GatewayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    app()
