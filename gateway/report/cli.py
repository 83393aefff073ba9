"""`bollard report` and `bollard export`."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.book import Book
from gateway.config import load_shore
from gateway.errors import GatewayError
from gateway.export import fields_of, instant_ns, write_csv
from gateway.report.errors import NoData, WrongInput
from gateway.report.html import render_html
from gateway.report.markdown import render_markdown
from gateway.report.model import WHOLE_ENOUGH, build
from gateway.report.source import site_settings
from gateway.store import Store, open_store
from gateway.texts import load_texts


class Language(StrEnum):
    FR = "fr"
    EN = "en"


class Format(StrEnum):
    MD = "md"
    HTML = "html"


RENDER = {Format.MD: render_markdown, Format.HTML: render_html}
INCOMPLETE = 3

ShoreOption = Annotated[Path, typer.Option(help="The shore file: where store and book are.")]
StoreOption = Annotated[str | None, typer.Option(help="Another store than the shore file's, as in sqlite:PATH.")]
SiteOption = Annotated[str, typer.Option(help="The site's name.")]


def report_command(
    month: Annotated[str, typer.Argument(help="Year and month, as in 2026-10, in the site's time zone.")],
    site: SiteOption,
    shore: ShoreOption,
    store: StoreOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the report; made if it is not there.")] = Path(),
    lang: Annotated[Language, typer.Option(help="Language of the report.")] = Language.FR,
    format_: Annotated[
        list[Format] | None,
        typer.Option("--format", help="md or html; may be given twice. Both if left out."),
    ] = None,
) -> None:
    """The monthly energy and CO2 report of a site. Prints the paths of its files.

    Exit code 0: done; 2: wrong input; 3: written but incomplete (month not over, or less than 99 % of it
    covered), or no data at all; 4: the store does not answer.
    """
    with _explained(), _opened(shore, store) as (rows, book):
        report = build(rows, book, month, site)
        out.mkdir(parents=True, exist_ok=True)
        for kind in dict.fromkeys(format_ or Format):
            path = out / f"report-{site}-{report.month}.{lang}.{kind}"
            _write(path, RENDER[kind](report, lang))
            print(path)
    if report.month.stop_ns > time.time_ns():
        when = load_texts("en").instant(report.month.stop_ns, report.month.zone)
        _complain(f"{month} is not over before {when} {report.month.timezone}; make the report again then")
    if not report.complete:
        seen = load_texts("en").percent(report.coverage, 2)
        _complain(f"the report covers {seen} of {month}, less than {WHOLE_ENOUGH * 100} %; see its reservations")
    if report.month.stop_ns > time.time_ns() or not report.complete:
        raise typer.Exit(INCOMPLETE)


def export_command(
    site: SiteOption,
    kind: Annotated[str, typer.Option(help="Kind of rows, as in energy_1m, session, soc, meter.")],
    start: Annotated[str, typer.Option("--from", help="First instant: 2026-10-01 or 2026-10-01T06:00, local.")],
    stop: Annotated[str, typer.Option("--to", help="First instant that is left out.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    shore: ShoreOption,
    store: StoreOption = None,
    device: Annotated[str | None, typer.Option(help="One device only.")] = None,
) -> None:
    """Rows of a kind as CSV, units in the column names. Prints the file's path.

    Exit code 0: done; 2: wrong input; 3: no rows; 4: the store does not answer.
    """
    with _explained(), _opened(shore, store) as (rows, book):
        catalogues = book.catalogues(site)
        timezone = site_settings(catalogues)["timezone"]
        fields = fields_of(kind, catalogues)
        present = sorted({s.kind for s in rows.series() if s.tags.get("site") == site})
        if not fields or not present:
            raise WrongInput(f"site {site!r} has no kind {kind!r}; kinds there: {', '.join(present) or 'none'}")
        start_ns, stop_ns = _instant("--from", start, timezone), _instant("--to", stop, timezone)
        if start_ns >= stop_ns:
            raise WrongInput(f"--from {start} is not before --to {stop}; swap them, or give a later --to")
        count = write_csv(rows, site, kind, device, fields, start_ns, stop_ns, out)
        if not count:
            out.unlink()
            whose = f"device {device!r}" if device else f"site {site!r}"
            raise NoData(f"{whose} has no {kind} from {start} to {stop}; kinds there: {', '.join(present)}")
    print(out)
    _complain(f"{count} rows")


@contextmanager
def _opened(shore: Path, url: str | None) -> Iterator[tuple[Store, Book]]:
    """Store and book for reading: what is missing is an error, not made."""
    settings = load_shore(shore)
    opened = open_store(url, create=False) if url else settings.store.open(create=False)
    with closing(opened) as store, closing(Book(settings.book.path, create=False)) as book:
        yield store, book


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what can go wrong into one sentence on stderr and an exit code."""
    try:
        yield
    except GatewayError as error:
        _complain(str(error))
        raise typer.Exit(error.exit_code) from error
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}; give a folder that this user may write to")
        raise typer.Exit(WrongInput.exit_code) from error


def _instant(option: str, text: str, timezone: str) -> int:
    try:
        return instant_ns(text, timezone)
    except ValueError as error:
        raise WrongInput(f"{option} {text!r} is not a time; give 2026-10-01 or 2026-10-01T06:00") from error


def _write(path: Path, text: str) -> None:
    """The file appears under its name only when it is whole."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)


def _complain(message: str) -> None:
    print(message, file=sys.stderr)
