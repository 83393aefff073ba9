"""`bollard journal …`: calls, opening hours and stoppages of locks, replaced meters, as people write them down."""

import csv
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.book import Book
from gateway.config import load_shore
from gateway.errors import GatewayError
from gateway.journal import (
    KINDS,
    WITHDRAWN,
    Body,
    JournalError,
    NewEntry,
    encode,
    in_force,
    known_problems,
    parse,
    same,
)  # fmt: skip
from gateway.report.source import site_settings

app = typer.Typer(
    help="What PLCs do not know: calls, lock hours and stoppages, replaced meters. Nothing is ever changed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Shore = Annotated[Path, typer.Option(help="The shore file.", show_default=False)]
Site = Annotated[str, typer.Option(help="The site's name.", show_default=False)]
Author = Annotated[str, typer.Option(help="Who writes this down.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why, or from what source.", show_default=False)]
Kind = Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.", show_default=False)]


@app.command()
def add(
    kind: Kind,
    values: Annotated[list[str], typer.Argument(help="KEY=VALUE, as in berth=quai-1; times are local.")],
    site: Site, shore: Shore, author: Author, reason: Reason,
    replaces: Annotated[int | None, typer.Option(help="Number of the entry that this one corrects.")] = None,
) -> None:  # fmt: skip
    """Add one entry. Prints its number. Exit code 0: written; 2: something is wrong, nothing was written."""
    with _book(shore) as book:
        pairs = [value.partition("=") for value in values]
        wrong = [key for key, sign, _ in pairs if not sign]
        if wrong:
            raise JournalError(f"{wrong[0]!r} is not KEY=VALUE, as in berth=quai-1")
        body = _checked(book, site, kind, {key: value for key, _, value in pairs}, f"journal add {kind}")
        _write(book, [(kind, body)], site, author, reason, replaces)


@app.command("import")
def import_(
    kind: Kind,
    file: Annotated[Path, typer.Argument(help="CSV with the keys as its first line.", show_default=False)],
    site: Site, shore: Shore, author: Author, reason: Reason,
) -> None:  # fmt: skip
    """Add a CSV file, all of it or nothing; what is in the journal already is left out, and counted.

    Exit code 0: written; 2: a line is wrong, nothing was written.
    """
    with _book(shore) as book:
        bodies, problems = [], []
        for line, row in _rows(file):
            try:
                bodies.append((kind, _checked(book, site, kind, row, f"{file}: line {line}")))
            except JournalError as error:
                problems.append(str(error))
        if problems:
            raise JournalError("\n".join([*problems, f"{file}: nothing was written"]))
        _write(book, bodies, site, author, reason, None)


@app.command()
def withdraw(
    number: Annotated[int, typer.Argument(help="The entry to take back.", show_default=False)],
    site: Site, shore: Shore, author: Author, reason: Reason,
) -> None:  # fmt: skip
    """Take an entry back without putting another in its place. It stays in the journal, marked."""
    with _book(shore) as book:
        new = NewEntry(site, WITHDRAWN, "{}", _said("--author", author), _said("--reason", reason), number)
        print(book.write_journal([new], time.time_ns())[0].number)


@app.command("list")
def list_(
    site: Site, shore: Shore,
    all_: Annotated[bool, typer.Option("--all", help="Also entries that were replaced or taken back.")] = False,
) -> None:  # fmt: skip
    """One entry a line: number, when and by whom, kind, content, reason."""
    with _book(shore) as book:
        entries = book.journal(site)
        valid = {e.number for e in in_force(entries)}
        for e in entries:
            if all_ or e.number in valid:
                at = datetime.fromtimestamp(e.written_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                mark = "" if e.number in valid else " [no longer in force]"
                old = f" replaces {e.replaces}" if e.replaces is not None else ""
                said = " ".join(f"{key}={value}" for key, value in json.loads(e.json).items())
                print(f"{e.number} {at} {e.author}: {e.kind} {said}{old} ({e.reason}){mark}")


def _checked(book: Book, site: str, kind: str, table: Mapping[str, Any], where: str) -> Body:
    settings = site_settings(book.catalogues(site))
    if not settings["hashes"]:
        known = ", ".join(sorted({c.site for c in book.catalogues()})) or "none"
        raise JournalError(f"{where}: site {site!r} has sent no catalogue yet; sites there: {known}")
    body = parse(kind, table, settings["timezone"], where)
    problems = known_problems(body, settings)
    if problems:
        raise JournalError("\n".join(f"{where}: {problem}" for problem in problems))
    return body


def _write(
    book: Book, bodies: list[tuple[str, Body]], site: str, author: str, reason: str, replaces: int | None
) -> None:
    author, reason, known = _said("--author", author), _said("--reason", reason), book.journal(site)
    new = [
        NewEntry(site, kind, text, author, reason, replaces)
        for kind, text in dict.fromkeys((kind, encode(body)) for kind, body in bodies)
        if same(known, kind, text) is None
    ]
    for entry in book.write_journal(new, time.time_ns()):
        print(entry.number)
    if len(new) < len(bodies):
        print(f"{len(bodies) - len(new)} are in the journal already", file=sys.stderr)


def _said(option: str, text: str) -> str:
    if not text.strip():
        raise JournalError(f"{option} is empty; an auditor will ask for it")
    return text.strip()


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines of a CSV file with their numbers. A semicolon between cells is fine, as spreadsheets write it."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise JournalError(f"{file}: cannot be read: {error.strerror}; give an existing CSV file") from error
    except UnicodeDecodeError as error:
        raise JournalError(f"{file}: not UTF-8: {error.reason}; save it as CSV UTF-8") from error
    if not lines:
        raise JournalError(f"{file}: is empty; its first line names the columns, as in imo,berth")
    found = csv.DictReader(lines, delimiter=";" if ";" in lines[0] else ",")
    for row in found:
        if None in row or None in row.values():
            raise JournalError(f"{file}: line {found.line_num}: has not as many cells as the first line")
        yield found.line_num, {key.strip(): value.strip() for key, value in row.items()}


@contextmanager
def _book(shore: Path) -> Iterator[Book]:
    try:
        with closing(Book(load_shore(shore, secrets=False).book.path, create=False)) as book:
            yield book
    except GatewayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
