"""`bollard report`, with `trace` and `verify` beside it, and `bollard export`."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo

import typer
from typer.core import TyperGroup

from gateway.book import Book
from gateway.config import load_shore
from gateway.errors import GatewayError
from gateway.export import fields_of, instant_ns, write_csv
from gateway.report.errors import NoData, WrongInput
from gateway.report.frozen import FrozenStore
from gateway.report.issue import Format, Issue, entry, issue, rows_name
from gateway.report.model import WHOLE_ENOUGH, build
from gateway.report.month import Month
from gateway.report.source import site_settings
from gateway.report.trace import trace
from gateway.report.verify import read_report, seal, seal_path, verify
from gateway.report.words import Words
from gateway.store import Store, open_store
from gateway.texts import load_texts, local


class Language(StrEnum):
    FR = "fr"
    EN = "en"


class ReportGroup(TyperGroup):
    """`bollard report 2026-10 …` is `bollard report make 2026-10 …`: the month may stand first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["make", *args]
        return super().parse_args(ctx, args)


INCOMPLETE = 3
DAY_NS = 86_400_000_000_000
app = typer.Typer(cls=ReportGroup, no_args_is_help=True, help="The monthly energy and CO2 report of a site.")

ShoreOption = Annotated[
    Path, typer.Option(help="The shore file: where store and book are.", envvar="BOLLARD_SHORE")
]
StoreOption = Annotated[str | None, typer.Option(help="Another store than the shore file's, as in sqlite:PATH.")]
SiteOption = Annotated[str, typer.Option(help="The site's name.")]
LangOption = Annotated[Language, typer.Option(help="Language of the report.")]
SHORE = Path("/etc/bollard/shore.toml")


@app.command("make")
def report_command(
    site: SiteOption,
    month: Annotated[
        str | None, typer.Argument(help="Year and month, as in 2026-10, in the site's time zone.")
    ] = None,
    shore: ShoreOption = SHORE,
    store: StoreOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the report; made if it is not there.")] = Path(),
    lang: LangOption = Language.FR,
    format_: Annotated[
        list[Format] | None,
        typer.Option("--format", help="May be given several times; all if left out."),
    ] = None,
    last_month: Annotated[
        bool, typer.Option("--last-month", help="The month before this one: for a timer.")
    ] = False,
    final: Annotated[
        bool, typer.Option("--final", help="To file: status final, its input rows are frozen in a file beside it.")
    ] = False,
) -> None:
    """The monthly energy and CO2 report of a site. `make` may be left out. Prints the paths of its files.

    Exit code 0: done; 2: wrong input; 3: written but incomplete (month not over, or less than 99 % of it
    covered), or no data at all; 4: the store does not answer.
    """
    with explained(), opened(shore, store) as (rows, book):
        when = _month(month, last_month, site_settings(book.catalogues(site))["timezone"])
        if final and when.stop_ns > time.time_ns():
            raise WrongInput(f"{when} is not over: only what can no longer grow can be final; leave out --final")
        frozen = out / rows_name(site, str(when)) if final else None
        made_here = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
        try:
            made = issue(rows, book, str(when), site, frozen)
        except BaseException:
            if made_here:
                out.rmdir()
            raise
        for kind in dict.fromkeys(format_ or Format):
            path = out / made.name(kind, lang)
            _write(path, made.render(kind, lang))
            print(path)
        if frozen is not None:
            _write(seal_path(frozen), seal(frozen).encode())
            print(frozen)
        book.file_report(entry(made, time.time_ns()))
    _tell_incomplete(made)


def _month(text: str | None, last: bool, timezone: str) -> Month:
    if last == (text is not None):
        raise WrongInput("give either a month, as in 2026-10, or --last-month")
    if text is not None:
        return Month.parse(text, timezone)
    today = local(time.time_ns(), ZoneInfo(timezone))
    this = Month(today.year, today.month, timezone)
    before = local(this.start_ns - DAY_NS, ZoneInfo(timezone))
    return Month(before.year, before.month, timezone)


def _tell_incomplete(made: Issue) -> None:
    """Say why a report is not whole, and end with 3 if it is not."""
    report = made.report
    over = report.month.stop_ns <= time.time_ns()
    if not over:
        when = load_texts("en").instant(report.month.stop_ns, report.month.zone)
        _complain(f"{report.month} is not over before {when} {report.month.timezone}; make the report again then")
    if not report.complete:
        seen = load_texts("en").percent(report.coverage, 2)
        _complain(
            f"the report covers {seen} of {report.month}, less than {WHOLE_ENOUGH * 100} %; see its reservations"
        )
    if not over or not report.complete:
        raise typer.Exit(INCOMPLETE)


@app.command("trace")
def trace_command(
    key: Annotated[str, typer.Argument(help="Of the figure, as in energy.import_wh/meter=meter-1.")],
    site: Annotated[str | None, typer.Option(help="The site's name.")] = None,
    month: Annotated[str | None, typer.Option(help="As in 2026-10.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Frozen rows of a final issue, instead of a store.")] = None,
    shore: ShoreOption = SHORE,
    store: StoreOption = None,
    lang: LangOption = Language.FR,
    whole: Annotated[
        bool, typer.Option("--all", help="Every input and row, not the first and last alone.")
    ] = False,
) -> None:
    """The chain of a figure: formula, factors, figures it comes from, minutes and register readings.

    Exit code 0: done; 2: wrong input, as a key that the report has not; 3: no data; 4: the store does not answer.
    """
    with explained(), _source(rows, shore, store) as (found, book):
        if isinstance(found, FrozenStore):
            site, month = found.raw["site"], found.raw["month"]
        if site is None or month is None:
            raise WrongInput("give --site and --month, as in --site calais --month 2026-10, or --rows FILE")
        report = build(found, book, month, site)
        words = Words(report, load_texts(lang))
        for line in trace(report, found, book.catalogues(site), key, words, whole):
            print(line)


@contextmanager
def _source(rows: Path | None, shore: Path, store: str | None) -> Iterator[tuple[Store, Book]]:
    if rows is None:
        with opened(shore, store) as found:
            yield found
    else:
        frozen = FrozenStore(rows)
        yield cast(Store, frozen), cast(Book, frozen)  # it is only read


@app.command("verify")
def verify_command(
    file: Annotated[Path, typer.Argument(help="PDF or JSON of a final issue.")],
    rows: Annotated[Path | None, typer.Option(help="Its frozen rows; the file beside it if left out.")] = None,
    store: Annotated[
        str | None, typer.Option(help="A store to compare with, as in sqlite:PATH: what was corrected since?")
    ] = None,
    lang: LangOption = Language.FR,
) -> None:
    """Reckon a filed report again from its frozen rows: same figures, same bytes, or what is not the same.

    Exit code 0: all is as filed; 1: something differs; 2: wrong input; 4: the store does not answer.
    """
    with explained(), ExitStack() as stack:
        manifest = read_report(file)["manifest"]
        frozen = rows or file.with_name(rows_name(manifest["site"], manifest["month"]))
        if not frozen.exists():
            raise WrongInput(f"{frozen}: no such file; give the frozen rows of this report with --rows")
        other = None if store is None else stack.enter_context(closing(open_store(store, create=False)))
        findings = verify(file, frozen, other)
    texts = load_texts(lang)
    for finding in findings:
        print(f"{'  ' if finding.ok else '! '}{texts(f'report.verify.{finding.code}', **finding.values)}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def export_command(
    site: SiteOption,
    kind: Annotated[str, typer.Option(help="Kind of rows, as in energy_1m, session, soc, meter.")],
    start: Annotated[str, typer.Option("--from", help="First instant: 2026-10-01 or 2026-10-01T06:00, local.")],
    stop: Annotated[str, typer.Option("--to", help="First instant that is left out.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    shore: ShoreOption = SHORE,
    store: StoreOption = None,
    device: Annotated[str | None, typer.Option(help="One device only.")] = None,
) -> None:
    """Rows of a kind as CSV, units in the column names. Prints the file's path.

    Exit code 0: done; 2: wrong input; 3: no rows; 4: the store does not answer.
    """
    with explained(), opened(shore, store) as (rows, book):
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
def opened(shore: Path, url: str | None) -> Iterator[tuple[Store, Book]]:
    """Store and book for reading: what is missing is an error, not made."""
    settings = load_shore(shore)
    opened = open_store(url, create=False) if url else settings.store.open(create=False)
    with closing(opened) as store, closing(Book(settings.book.path, create=False)) as book:
        yield store, book


@contextmanager
def explained() -> Iterator[None]:
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


def _write(path: Path, data: bytes) -> None:
    """The file appears under its name only when it is whole."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _complain(message: str) -> None:
    print(message, file=sys.stderr)
