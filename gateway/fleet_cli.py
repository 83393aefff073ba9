"""`bollard fleet`: all gateways on one screen, the worst first."""

import asyncio
import json
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.book import Book
from gateway.config import ShoreSettings, load_shore
from gateway.errors import GatewayError
from gateway.fleet import Gateway, as_data, judge, listen
from gateway.texts import Texts, load_texts

MIB = 2**20


def fleet(
    shore: Annotated[Path, typer.Option(help="the shore file", show_default=False)],
    site: Annotated[list[str] | None, typer.Option(help="of this site only; may stand again")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="all of it for a program")] = False,
    wait_s: Annotated[float, typer.Option(min=1.0, max=600.0, help="seconds for the broker to answer")] = 20.0,
    lang: Annotated[str, typer.Option(help="fr or en")] = "fr",
) -> None:
    """All gateways, the worst first: version, until when confirmed, what waits, clock, disk, certificates.

    From the retained status and catalogue at the broker, and the book's list of gateways. Ends with 1 where
    something is wrong, with 4 where no broker lets us in.
    """
    try:
        settings, texts = load_shore(shore), load_texts(lang)
        found = asyncio.run(listen(settings.broker.access(), site or settings.sites, wait_s))
        for known in _known(settings):
            if not site or known[0] in site:
                found.setdefault(known, Gateway(*known))
    except (GatewayError, ValueError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(getattr(error, "exit_code", 2)) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    now_ns = time.time_ns()
    gateways = judge(found.values(), now_ns)
    if as_json:
        print(json.dumps(as_data(gateways, now_ns), indent=2, ensure_ascii=False))
    else:
        for line in table(gateways, now_ns, texts):
            print(line)
    if not gateways or any(gateway.troubles for gateway in gateways):
        raise typer.Exit(1)


def _known(settings: ShoreSettings) -> list[tuple[str, str]]:
    """Gateways that have ever told their catalogue: a broker may have forgotten one."""
    if not settings.book.path.is_file():
        return []
    with closing(Book(settings.book.path, create=False)) as book:
        return [(c.site, c.gateway) for c in book.catalogues() if not settings.sites or c.site in settings.sites]


def table(gateways: list[Gateway], now_ns: int, texts: Texts) -> list[str]:
    """Lines of text, their columns as wide as they have to be."""
    if not gateways:
        return [texts("fleet.none")]
    names = ("gateway", "state", "version", "behind", "waiting", "clock", "disk", "certificates", "troubles")
    rows = [[texts(f"fleet.{name}") for name in names], *(_row(g, now_ns, texts) for g in gateways)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(names) - 1)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]
    bad = sum(bool(g.troubles) for g in gateways)
    return [*(line.rstrip() for line in lines), texts("fleet.sum", count=len(gateways), bad=bad)]


def _row(g: Gateway, now_ns: int, texts: Texts) -> list[str]:
    none = texts("fleet.unknown")
    status = g.status or {}
    behind_s, free, waiting = g.behind_s(now_ns), g.number("disk_free_bytes"), g.number("waiting")
    days = g.certificate_days(datetime.fromtimestamp(now_ns / 1e9, UTC))
    clock = none
    if g.online:
        known, trusted = status.get("clock_known"), status.get("clock_trusted")
        clock = texts("fleet.clock_" + ("unknown" if known is False else "trusted" if trusted else "untrusted"))
    return [
        f"{g.site}/{g.name}",
        texts("fleet.silent" if g.silent(now_ns) else "fleet.online" if g.online else "fleet.offline"),
        _plain(status.get("version"), none),
        none if behind_s is None else texts.duration(round(behind_s)),
        none if waiting is None else texts.number(int(waiting)),
        clock,
        none if free is None else f"{texts.number(int(free // MIB))} {texts('fleet.mib')}",
        none if days is None else f"{texts.number(days)} {texts('number.day')}",
        ", ".join(texts(f"fleet.trouble.{trouble}") for trouble in g.troubles) or texts("fleet.fine"),
    ]


def _plain(value: object, none: str) -> str:
    """What a gateway has sent, fit for a terminal."""
    return "".join(c for c in str(value)[:24] if c.isprintable()) if value is not None else none


if __name__ == "__main__":
    typer.run(fleet)
