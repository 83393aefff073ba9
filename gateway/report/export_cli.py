"""`bollard export`: rows as CSV, or the figures that may be published."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.config import load_shore
from gateway.export import fields_of, instant_ns, write_csv
from gateway.report.cli import (
    INCOMPLETE,
    SHORE,
    ShoreOption,
    StoreOption,
    complain,
    explained,
    opened,
    tell_not_whole,
)
from gateway.report.errors import NoData, WrongInput
from gateway.report.option_files import load_options
from gateway.report.rollup_cli import open_files, rolled_up, write_all
from gateway.report.source import site_settings


def export_command(
    site: Annotated[list[str] | None, typer.Option(help="The site's name; with --open also several.")] = None,
    kind: Annotated[str | None, typer.Option(help="Kind of rows, as in energy_1m, session, soc, meter.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="First instant: 2026-10-01 or 2026-10-01T06:00, local.")
    ] = None,
    stop: Annotated[str | None, typer.Option("--to", help="First instant that is left out.")] = None,
    out: Annotated[Path, typer.Option(help="The CSV file to write; with --open the folder.")] = Path(),
    shore: ShoreOption = SHORE,
    store: StoreOption = None,
    device: Annotated[str | None, typer.Option(help="One device only.")] = None,
    open_: Annotated[
        bool,
        typer.Option("--open", help="Not rows, but figures that may be published, with a data dictionary."),
    ] = False,
    period: Annotated[str | None, typer.Option(help="With --open: 2026-10, 2026-H2 or 2026.")] = None,
    group: Annotated[str | None, typer.Option(help="With --open: a group of the shore file.")] = None,
) -> None:
    """Rows of a kind as CSV, units in the column names; or, with --open, figures that may be published.

    Prints the paths of its files. Exit code 0: done; 2: wrong input; 3: no rows, or a period that is not whole;
    4: the store does not answer.
    """
    if open_:
        _export_open(shore, store, period, list(site or []), group, out)
        return
    given = {"--site": site, "--kind": kind, "--from": start, "--to": stop}
    with explained():
        lacking = [option for option, value in given.items() if not value]
        if lacking or len(site or []) > 1:
            raise WrongInput(f"give one each of {', '.join(given)}; lacking: {', '.join(lacking) or 'none'}")
    _export_rows(str((site or [""])[0]), str(kind), str(start), str(stop), out, shore, store, device)


def _export_open(
    shore: Path, store: str | None, period: str | None, sites: list[str], group: str | None, out: Path
) -> None:
    with explained(), opened(shore, store) as (rows, book):
        if period is None:
            raise WrongInput("give --period, as in 2026-10, 2026-H2 or 2026")
        settings = load_shore(shore)
        found = rolled_up(rows, book, settings, period, sites, group, load_options(settings.report))
        files, held = open_files(found, settings)
        for path in write_all(files, out):
            print(path)
        if held:
            complain(f"{len(held)} figures are held back, too few vessels are behind them; see the dictionary")
        whole = tell_not_whole(found)
    if not whole:
        raise typer.Exit(INCOMPLETE)


def _export_rows(
    site: str, kind: str, start: str, stop: str, out: Path, shore: Path, store: str | None, device: str | None
) -> None:
    with explained(), opened(shore, store) as (rows, book):
        catalogues = book.catalogues(site)
        timezone = site_settings(catalogues)["timezone"]
        fields = fields_of(kind, catalogues)
        present = sorted({s.kind for s in rows.series(counted=False) if s.tags.get("site") == site})
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
    complain(f"{count} rows")


def _instant(option: str, text: str, timezone: str) -> int:
    try:
        return instant_ns(text, timezone)
    except ValueError as error:
        raise WrongInput(f"{option} {text!r} is not a time; give 2026-10-01 or 2026-10-01T06:00") from error
