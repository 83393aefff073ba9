"""`bollard recompute`: minutes of a meter, or calls at a charger, once more from raw rows."""

import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.wire import Catalogue
from gateway.book import Book
from gateway.config import load_shore
from gateway.errors import ConfigError, GatewayError
from gateway.export import instant_ns
from gateway.recompute import Meter, Outcome, recompute_minutes, write
from gateway.recompute_calls import Place, recompute_calls

INCOMPLETE = 3


def recompute(
    device: Annotated[str, typer.Option(help="a meter (its minutes) or a charger (its calls)")],
    from_: Annotated[str, typer.Option("--from", help="date or ISO time, in the site's zone if it has no offset")],
    shore: Annotated[Path, typer.Option(help="the shore file", envvar="BOLLARD_SHORE")],
    to: Annotated[str, typer.Option("--to", help="up to and without this instant; now if left out")] = "",
    site: Annotated[str, typer.Option(help="the site's name; may be left out if only one has the device")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would change, and write nothing")] = False,
) -> None:
    """Compute minutes or calls again from the raw rows in the store; what differs is written as a new revision.

    A meter replacement from the journal counts. What the store knows less of now than the gateway did (raw rows
    removed or dropped) stays as it is: then the exit code is 3.
    """
    try:
        code = _run(device, from_, to, shore, site, dry_run)
    except GatewayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    raise typer.Exit(code)


def _run(device: str, from_: str, to: str, shore: Path, site: str, dry_run: bool) -> int:
    settings = load_shore(shore)
    with (
        closing(Book(settings.book.path, create=False)) as book,
        closing(settings.store.open(create=False)) as store,
    ):
        catalogue, entry = _find(book, device, site)
        zone = catalogue.settings.get("site", {}).get("timezone", "Europe/Paris")
        start_ns = _instant("--from", from_, zone)
        stop_ns = _instant("--to", to, zone) if to else time.time_ns()
        if stop_ns <= start_ns:
            raise ConfigError(f"--to {to}: is not after --from {from_}; swap them")
        began = time.perf_counter()
        if entry["kind"] == "meter":
            meter = Meter.of(catalogue, entry, book.journal(catalogue.site))
            outcome = recompute_minutes(store, meter, start_ns, stop_ns)
        elif entry["kind"] == "charger":
            outcome = recompute_calls(store, Place.of(catalogue, entry), start_ns, stop_ns)
        else:
            raise ConfigError(
                f"--device {device}: is a {entry['kind']}; only minutes of a meter and calls at a charger"
                " are computed again ashore"
            )
        refused = []
        if not dry_run:
            types = book.field_types(catalogue.site, catalogue.gateway) or {}
            refused = write(store, outcome.lines, types)
    for reason in refused:
        print(f"refused: {reason}", file=sys.stderr)
    _print(device, outcome, dry_run, time.perf_counter() - began)
    return INCOMPLETE if outcome.kept or outcome.absent or outcome.refused or refused else 0


def _print(device: str, outcome: Outcome, dry_run: bool, seconds: float) -> None:
    for text in outcome.events:
        print(text)
    done = "would be written" if dry_run else "written"
    print(f"{device}: {outcome.rows} raw rows, {outcome.computed} computed, {len(outcome.lines)} revisions {done}")
    if outcome.kept or outcome.absent:
        print(
            f"{outcome.kept} left as they are, for less is known of them now; {outcome.absent} without raw rows",
            file=sys.stderr,
        )
    if outcome.refused:
        print(
            "a replacement was not applied: its closing index must follow from the meter's last reading, and both"
            " indices must be given; replace the entry with `bollard journal add --replaces`",
            file=sys.stderr,
        )
    print(f"{seconds:.1f} s", file=sys.stderr)


def _find(book: Book, device: str, site: str) -> tuple[Catalogue, Mapping[str, Any]]:
    """The device in the newest catalogues. Raises: ConfigError."""
    catalogues = book.catalogues(site or None)
    found = [(c, d) for c in catalogues for d in c.devices if d["name"] == device]
    if len(found) == 1:
        return found[0]
    if found:
        sites = ", ".join(sorted({c.site for c, _ in found}))
        raise ConfigError(f"--device {device}: is in several catalogues ({sites}); give --site")
    names = ", ".join(sorted({str(d["name"]) for c in catalogues for d in c.devices})) or "none"
    raise ConfigError(f"--device {device}: is in no catalogue{f' of {site}' if site else ''}; devices: {names}")


def _instant(option: str, text: str, zone: str) -> int:
    try:
        return instant_ns(text, zone)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}; give a date or a time, as in 2026-10-01T06:30") from error


if __name__ == "__main__":
    typer.run(recompute)
