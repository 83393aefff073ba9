"""SQLite and InfluxDB give the same reports and roll-ups: a month that fills every section, from both."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import lock_rows as lr
import pytest
from servers.influx import TOKEN

from edge.wire import RowLine
from gateway.journal import NewEntry, encode, parse
from gateway.perimeter import Company, Operator, Perimeter, Port
from gateway.report.issue import Format, issue
from gateway.report.options import Options
from gateway.report.rollup import roll_up
from gateway.report.rollup_issue import RollupIssue
from gateway.store import Store, open_store

NS = 1_000_000_000
MINUTE_NS = 60 * NS
OPTIONS = Options(
    contracts="""
[[contract]]
site = "demo-port"
meter = "meter-1"
[[contract.tariff]]
name = "HP"
[[contract.subscribed]]
since = 2026-01-01
tariff = "HP"
power_kw = 5000
[[contract.invoice]]
month = "2026-10"
energy_kwh = 4357
""",
    targets="figure,perimeter,year,value,unit,source\nenergy.import_wh,demo-port,2026,4,MWh,plan\n",
    intensity={"eco2mix.csv": "date_heure;taux_co2\n2026-10-14T08:00:00+02:00;21\n2026-10-14T08:30:00+02:00;22\n"},
    eua_eur_per_t="70", pollutants=True,
)  # fmt: skip
PERIMETER = Perimeter(
    ports=(Port(name="demo", sites=("demo-port",)),),
    operators=(Operator(name="regie", kind="own", sites=("canal",)),),
    companies=(Company(name="northline", vessels=("ferry-aurelie",)),),
)


@dataclass
class Both:
    """What is written goes to both stores; the first one is read."""

    first: Store
    second: Store

    def write(self, rows: list[RowLine | str], types: Any) -> list[tuple[int, str]]:
        assert self.second.write(rows, types) == []
        return self.first.write(rows, types)


@pytest.fixture(name="both")
def _both(port: Any, influx_server: Any) -> Iterator[Any]:
    with closing(open_store(influx_server.access.store_url(f"t-{uuid.uuid4().hex[:12]}"), token=TOKEN)) as influx:
        port.store = Both(port.store, influx)
        yield port
        port.store = port.store.first


def fill(port: Any, paris_ns: Any) -> None:
    """Three months with a hole, a correction, a call with its stay and charge, lockages; and a lock's own rows."""
    port.site(vessel=[{"name": "ferry-aurelie", "plc_names": ["AURELIE"], "imo": "9074729"}])
    for day, wh in (("2025-10-14", 300), ("2026-09-14", 400), ("2026-10-14", 500)):
        port.minutes(paris_ns(f"{day}T08:02"), [wh] * 30)
    at_ns = paris_ns("2026-10-14T08:40")
    port.minutes(at_ns, [90_000] * 30)
    port.minutes(at_ns, [90_001], rev="1000")
    port.call(at_ns + 7 * NS, at_ns + 30 * MINUTE_NS - 11 * NS, 2_690_000)
    tags = {"site": "demo-port", "gateway": "gw-quay-1", "origin": "sim", "code": "agent_started"}
    port.write([RowLine("event", tags, {"text": "1.0", "value": 1.0}, at_ns - MINUTE_NS)])
    port.row("soc", "ferry-bms", at_ns, {"soc": 0.5, "soc_low": 0.4, "soc_high": 0.6}, vessel="ferry-aurelie")
    port.lockage(at_ns, at_ns + 20 * MINUTE_NS, "up")
    table = {"imo": "9074729", "berth": "berth-1", "arrival": "2026-10-14T08:30", "departure": "2026-10-14T09:15"}
    text = encode(parse("call", table, "Europe/Paris", "test"))
    port.book.write_journal([NewEntry("demo-port", "call", text, "A. Martin", "harbour log", None)], 1)
    port.book.put_catalogue(lr.catalogue(site="canal"))
    seconds = [at_ns + i * NS for i in range(120)]
    lr.write(port.store, seconds, site="canal", mode=[0] * 60 + [1] * 60, level_upstream_m=21.5, centre_link=1)
    tags = {"site": "canal", "gateway": lr.GATEWAY, "device": lr.LOCK, "origin": "sim"}
    fields = {"connected": 1, "round_trip_ms": 12.34}
    port.write([RowLine("link", tags, fields, at_ns)])  # type: ignore[arg-type]


@pytest.mark.influx
def test_every_section_and_roll_up_is_the_same_from_influxdb(both: Any, paris_ns: Any) -> None:
    fill(both, paris_ns)
    stores = (both.store.first, both.store.second)
    for site in ("demo-port", "canal"):
        here, there = (issue(store, both.book, "2026-10", site, None, OPTIONS) for store in stores)
        assert here.manifest == there.manifest
        kinds = Format if site == "demo-port" else (Format.JSON, Format.MD)
        assert [kind for kind in kinds if here.render(kind, "fr") != there.render(kind, "fr")] == []
    told = here.render(Format.MD, "en").decode()
    assert "lock-1" in told
    sums = [
        RollupIssue(roll_up(store, both.book, "2026-10", ("demo-port", "canal"), PERIMETER, "all", OPTIONS))
        for store in stores
    ]
    kinds = (Format.JSON, Format.CSV, Format.XLSX, Format.MD, Format.HTML)
    assert [kind for kind in kinds if sums[0].render(kind, "fr") != sums[1].render(kind, "fr")] == []
    figures = {f.key: f.value for f in sums[0].rollup.figures()}
    assert figures["energy.import_wh/site=demo-port"] == 30 * (500 + 90_000) + 1
    assert figures["company.calls/company=northline"] == 1
