"""`bollard report`, with `trace` and `verify` beside it."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from gateway.book import Book
from gateway.config import load_shore
from gateway.errors import GatewayError
from gateway.report.errors import NoData, WrongInput
from gateway.report.frozen import FrozenStore
from gateway.report.issue import Format, Issue, entry, issue, rows_name
from gateway.report.memory import without_collector
from gateway.report.model import WHOLE_ENOUGH, build
from gateway.report.month import Month
from gateway.report.option_files import load_options
from gateway.report.options import Options
from gateway.report.period import Period
from gateway.report.rollup import Rollup
from gateway.report.rollup_cli import (
    chosen_sites,
    not_whole,
    rolled_up,
    rollup_files,
    see_that_it_is_final,
    write_all,
)
from gateway.report.sections_quality import problem_texts
from gateway.report.source import site_settings
from gateway.report.trace import trace
from gateway.report.trace_rollup import trace_rollup
from gateway.report.verify import read_report, seal, seal_path, verify
from gateway.report.verify_rollup import verify_rollup
from gateway.report.words import PeriodWords, Words
from gateway.store import Store, open_store
from gateway.texts import load_texts


class Language(StrEnum):
    FR = "fr"
    EN = "en"


class Gwp(StrEnum):
    AR4 = "ar4"
    AR5 = "ar5"
    AR6 = "ar6"


class ReportGroup(TyperGroup):
    """`bollard report 2026-10 …` is `bollard report make 2026-10 …`: the period may stand first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["make", *args]
        return super().parse_args(ctx, args)


INCOMPLETE = 3
app = typer.Typer(cls=ReportGroup, no_args_is_help=True, help="The monthly energy and CO2 report of a site.")

ShoreOption = Annotated[
    Path, typer.Option(help="The shore file: where store and book are.", envvar="BOLLARD_SHORE")
]
StoreOption = Annotated[str | None, typer.Option(help="Another store than the shore file's, as in sqlite:PATH.")]
SiteOption = Annotated[str, typer.Option(help="The site's name.")]
LangOption = Annotated[Language, typer.Option(help="Language of the report.")]
UnverifiedOption = Annotated[
    bool, typer.Option("--allow-unverified", help="Also factors that nobody has checked; printed as such.")
]
FactorsOption = Annotated[Path | None, typer.Option(help="Your own factors (TOML); else the shore file's.")]
ContractsOption = Annotated[Path | None, typer.Option(help="Delivery contracts (TOML); else the shore file's.")]
GridFactorOption = Annotated[str | None, typer.Option(help="Id of the grid's factor, instead of the year's mix.")]
GwpOption = Annotated[Gwp | None, typer.Option(help="Set of warming potentials; ar5 if nothing is said.")]
EuaOption = Annotated[str | None, typer.Option(help="Price of an ETS allowance in EUR per tonne, as in 70.")]
PollutantsOption = Annotated[
    bool | None, typer.Option("--pollutants", help="NOx, SO2 and PM that engines did not emit, too.")
]
SHORE = Path("/etc/bollard/shore.toml")


@app.command("make")
def report_command(
    period: Annotated[
        str | None,
        typer.Argument(help="Month, half-year or year, as in 2026-10, 2026-H2, 2026, in the site's time zone."),
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(help="The site's name; several are added up. All, each by itself, if left out."),
    ] = None,
    group: Annotated[str | None, typer.Option(help="A group of the shore file: its sites are added up.")] = None,
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
    allow_unverified: UnverifiedOption = False,
    factors: FactorsOption = None,
    contracts: ContractsOption = None,
    grid_factor: GridFactorOption = None,
    gwp: GwpOption = None,
    eua: EuaOption = None,
    pollutants: PollutantsOption = None,
) -> None:
    """The energy and CO2 report of a site, or of several. `make` may be left out. Prints the paths of its files.

    Exit code 0: done; 2: wrong input; 3: written but incomplete (period not over, or less than 99 % of it
    covered), or no data at all; 4: the store does not answer.
    """
    kinds, whole = tuple(dict.fromkeys(format_ or Format)), True
    with explained(), opened(shore, store) as (rows, book):
        settings = load_shore(shore)
        given = _given(factors, contracts, grid_factor, gwp, eua, pollutants)
        options = load_options(settings.report.model_copy(update=given), allow_unverified)
        if last_month == (period is not None):
            raise WrongInput("give either a period, as in 2026-10, or --last-month")
        sites = list(site or [])
        named = chosen_sites(settings, sites, group)[1] if sites or group else _all_sites(book, settings.sites)
        when = _period(period, site_settings(book.catalogues(named[0]))["timezone"])
        if group is None and len(sites) < 2 and when.span == "month":
            for name in named:
                alone = len(named) == 1
                whole &= _make_month(rows, book, name, str(when), out, lang, kinds, final, options, alone)
        else:
            found = rolled_up(rows, book, settings, str(when), named if group is None else (), group, options)
            if final:
                see_that_it_is_final(found, book, time.time_ns())
            for path in write_all(rollup_files(found, lang, kinds, final), out):
                print(path)
            whole = tell_not_whole(found)
    if not whole:
        raise typer.Exit(INCOMPLETE)


def _given(
    factors: Path | None, contracts: Path | None, grid_factor: str | None, gwp: str | None, eua: str | None,
    pollutants: bool | None,
) -> dict[str, Any]:  # fmt: skip
    """What the command line says instead of the shore file's table [report]."""
    said = {"factors": factors, "contracts": contracts, "grid_factor": grid_factor, "gwp": gwp,
            "eua_eur_per_t": eua, "pollutants": pollutants}  # fmt: skip
    return {name: value for name, value in said.items() if value is not None}


@without_collector()
def _make_month(
    rows: Store, book: Book, site: str, month: str, out: Path, lang: str, kinds: Sequence[Format], final: bool,
    options: Options, alone: bool,
) -> bool:  # fmt: skip
    """Write the report of a site's month; is it complete? One of several sites may be without data."""
    try:
        made = _issued(rows, book, site, month, out, final, options)
    except NoData as error:
        if alone:
            raise
        complain(str(error))
        return False
    for kind in kinds:
        path = out / made.name(kind, lang)
        _write(path, made.render(kind, lang))
        print(path)
    if final:
        frozen = out / rows_name(site, month)
        _write(seal_path(frozen), seal(frozen).encode())
        print(frozen)
    book.file_report(entry(made, time.time_ns()))
    return _tell_incomplete(made)


def _issued(rows: Store, book: Book, site: str, month: str, out: Path, final: bool, options: Options) -> Issue:
    """A folder that was made here does not stay if there is nothing to put into it."""
    when = Month.parse(month, site_settings(book.catalogues(site))["timezone"])
    if final and when.stop_ns > time.time_ns():
        raise WrongInput(f"{when} is not over: only what can no longer grow can be final; leave out --final")
    made_here = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        return issue(rows, book, month, site, out / rows_name(site, month) if final else None, options)
    except BaseException:
        if made_here:
            out.rmdir()
        raise


def _all_sites(book: Book, wanted: Sequence[str]) -> tuple[str, ...]:
    """Sites that have sent a catalogue, as far as the shore file takes them."""
    found = dict.fromkeys(c.site for c in book.catalogues() if not wanted or c.site in wanted)
    if not found:
        raise WrongInput("no site has sent a catalogue yet; give --site NAME, or see that a gateway is online")
    return tuple(found)


def _period(text: str | None, timezone: str) -> Period:
    """None: the past month."""
    return Period.last_month(time.time_ns(), timezone) if text is None else Period.parse(text, timezone)


def _tell_incomplete(made: Issue) -> bool:
    """Say why a report is not whole, if it is not."""
    report = made.report
    over = _tell_not_over(report.month)
    for sentence in problem_texts(Words(report, load_texts("en"))):
        complain(sentence)
    if report.coverage < WHOLE_ENOUGH:
        seen = load_texts("en").percent(report.coverage, 2)
        complain(
            f"the report covers {seen} of {report.month}, less than {WHOLE_ENOUGH * 100} %; see its reservations"
        )
    return over and report.complete


def tell_not_whole(rollup: Rollup) -> bool:
    over, lacks = _tell_not_over(rollup.period), not_whole(rollup)
    for sentence in lacks:
        complain(sentence)
    return over and not lacks


def _tell_not_over(when: Month | Period) -> bool:
    """Is it over? Else say when it is."""
    if when.stop_ns <= time.time_ns():
        return True
    at = load_texts("en").instant(when.stop_ns, when.zone)
    complain(f"{when} is not over before {at} {when.timezone}; make the report again then")
    return False


@app.command("trace")
def trace_command(
    key: Annotated[str, typer.Argument(help="Of the figure, as in energy.import_wh/meter=meter-1.")],
    site: Annotated[
        list[str] | None, typer.Option(help="The site's name; several times for their roll-up.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="A group of the shore file, for its roll-up.")] = None,
    month: Annotated[str | None, typer.Option(help="As in 2026-10; 2026-H2 or 2026 for a roll-up.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Frozen rows of a final issue, instead of a store.")] = None,
    shore: ShoreOption = SHORE,
    store: StoreOption = None,
    lang: LangOption = Language.FR,
    allow_unverified: UnverifiedOption = False,
    factors: FactorsOption = None,
    contracts: ContractsOption = None,
    grid_factor: GridFactorOption = None,
    gwp: GwpOption = None,
    eua: EuaOption = None,
    pollutants: PollutantsOption = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Every input and row, not the first and last alone.")
    ] = False,
) -> None:
    """The chain of a figure: formula, factors, figures it comes from, minutes and register readings.

    Exit code 0: done; 2: wrong input, as a key that the report has not; 3: no data; 4: the store does not answer.
    """
    with explained(), _source(rows, shore, store) as (found, book):
        if isinstance(found, FrozenStore):
            lines = _chain(found, book, found.raw["site"], found.raw["month"], found.options, key, lang, whole)
        else:
            settings, named = load_shore(shore), list(site or [])
            given = _given(factors, contracts, grid_factor, gwp, eua, pollutants)
            options = load_options(settings.report.model_copy(update=given), allow_unverified)
            if month is None or not (named or group):
                raise WrongInput("give --site and --month, as in --site calais --month 2026-10, or --rows FILE")
            if group is None and len(named) == 1 and Period.parse(month, "UTC").span == "month":
                lines = _chain(found, book, named[0], month, options, key, lang, whole)
            else:
                rollup = rolled_up(found, book, settings, month, named, group, options)
                lines = trace_rollup(rollup, key, PeriodWords(rollup, load_texts(lang)), whole)
        for line in lines:
            print(line)


def _chain(
    store: Store, book: Book, site: str, month: str, options: Options, key: str, lang: str, whole: bool
) -> Iterator[str]:
    report = build(store, book, month, site, options)
    return trace(report, store, book.catalogues(site), key, Words(report, load_texts(lang)), whole)


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
        if not file.is_file():
            raise WrongInput(f"{file}: no such file; give the PDF or JSON of a final issue")
        data = read_report(file)
        manifest = data["manifest"]
        if "months" not in manifest:
            frozen = rows or file.with_name(rows_name(manifest["site"], manifest["month"]))
            if not frozen.exists():
                raise WrongInput(f"{frozen}: no such file; give the frozen rows of this report with --rows")
            other = None if store is None else stack.enter_context(closing(open_store(store, create=False)))
            findings = verify(file, frozen, other)
        elif rows is None and store is None:
            findings = verify_rollup(file, data)
        else:
            raise WrongInput(f"{file} is a roll-up: the frozen rows of its months lie beside it; give FILE alone")
    texts = load_texts(lang)
    for finding in findings:
        print(f"{'  ' if finding.ok else '! '}{texts(f'report.verify.{finding.code}', **finding.values)}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


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
        complain(str(error))
        raise typer.Exit(error.exit_code) from error
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}; give a folder that this user may write to")
        raise typer.Exit(WrongInput.exit_code) from error


def _write(path: Path, data: bytes) -> None:
    """The file appears under its name only when it is whole."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def complain(message: str) -> None:
    print(message, file=sys.stderr)
