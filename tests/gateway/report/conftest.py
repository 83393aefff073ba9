"""A small port written straight into a real SQLite store, row by row as an edge would send them."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from month_store import MonthStore, month_store

from edge.wire import Catalogue, RowLine, Value
from gateway.book import Book
from gateway.store.sqlite import SqliteStore

NS = 1_000_000_000
MINUTE_NS = 60 * NS
PARIS = ZoneInfo("Europe/Paris")


def paris_ns(text: str, fold: int = 0) -> int:
    """A local time as ns UTC; fold 1 is the second pass of the hour that October repeats."""
    return int(datetime.fromisoformat(text).replace(tzinfo=PARIS, fold=fold).timestamp()) * NS


def settings(**changes: Any) -> dict[str, Any]:
    """The demo site's file as its catalogue carries it."""
    meter = {"role": "delivery", "parent": None, "serial": "SIM-0001", "accuracy_class": "0.2S"}
    berth = {"name": "berth-1", "charger": "charger-1", "meter": "meter-1", "battery": "ferry-bms"}
    found: dict[str, Any] = {
        "schema": 1,
        "site": {"name": "demo-port", "gateway": "gw-quay-1", "timezone": "Europe/Paris"},
        "device": [
            {"name": "charger-1", "meter": None, "lock": None},
            {"name": "meter-1", "meter": meter, "lock": None},
            {"name": "lock-1", "meter": None, "lock": {"chamber_area_m2": 1735.2}},
        ],
        "berth": [{**berth, "use": "berth_supply", "baseline": "aux.mgo.sfoc.epa"}],
        "vessel": [{"name": "ferry-aurelie", "plc_names": ["AURELIE"], "imo": ""}],
    }
    return found | changes


@dataclass
class Port:
    """Store and book of a site, and short ways to fill them. Registers follow the minutes exactly."""

    store: SqliteStore
    book: Book
    origin: str = "sim"
    register_wh: dict[str, int] = field(default_factory=dict)
    written: list[RowLine] = field(default_factory=list)

    def site(self, **changes: Any) -> None:
        self.book.put_catalogue(Catalogue("demo-port", "gw-quay-1", "abc123", settings(**changes), ()))

    def row(self, kind: str, device: str, t_ns: int, fields: Mapping[str, Value], **tags: str) -> None:
        base = {"site": "demo-port", "gateway": "gw-quay-1", "device": device, "origin": self.origin}
        self.write([RowLine(kind, base | tags, fields, t_ns)])

    def write(self, rows: list[RowLine]) -> None:
        assert self.store.write(rows, {}) == []
        self.written += rows

    def minutes(self, start_ns: int, energies_wh: list[int], device: str = "meter-1", **changes: Any) -> None:
        """One row per minute. `changes` are fields of every row, or `rev`."""
        rev = changes.pop("rev", "0")
        estimated = changes.pop("estimated", False)
        base = {
            "site": "demo-port",
            "gateway": "gw-quay-1",
            "device": device,
            "origin": self.origin,
            "rev": rev,
        }
        rows = []
        for i, wh in enumerate(energies_wh):
            t_ns = start_ns + i * MINUTE_NS
            total = self.register_wh[device] = self.register_wh.get(device, 1_000_000) + wh
            fields: dict[str, Value] = {
                "import_wh": wh, "export_wh": 0, "max_power_w": wh * 60.0, "covered_s": 0.0 if estimated else 60.0,
                "measured_wh": 0 if estimated else wh, "integrated_wh": 0, "estimated_wh": wh if estimated else 0,
                "register_import_wh": total, "register_export_wh": 7, "register_t_ns": t_ns + 59 * NS, "epoch": 0,
            }  # fmt: skip
            rows.append(RowLine("energy_1m", base, fields | changes, t_ns))
        self.write(rows)

    def call(
        self, start_ns: int, end_ns: int, energy_wh: int | None, vessel: str = "ferry-aurelie", **changes: Any
    ) -> None:
        fields: dict[str, Value | None] = {
            "start_ns": start_ns, "end_ns": end_ns, "energy_wh": energy_wh, "register_open_wh": 1_000_000,
            "register_close_wh": 1_000_000 + (energy_wh or 0), "integrated_wh": float(energy_wh or 0),
            "peak_power_w": 7.0e6,
            "covered_s": (end_ns - start_ns) / NS, "connected_s": 100.0, "first_power_s": 20.0, "interruptions": 1,
            "soc_start": 0.4312, "soc_end": 0.8791, "berth": "berth-1", "meter": "meter-1",
        }  # fmt: skip
        known = {name: value for name, value in {**fields, **changes}.items() if value is not None}
        self.row("session", "charger-1", start_ns, known, vessel=vessel, rev="0")

    def lockage(self, start_ns: int, end_ns: int, direction: str, seen: int = 1, complete: int = 1) -> None:
        fields: dict[str, Value] = {
            "start_ns": start_ns, "end_ns": end_ns, "direction": direction, "vessel_seen": seen,
            "volume_m3": 8502.5, "head_m": 4.9, "complete": complete,
        }  # fmt: skip
        self.row("lock_cycle", "lock-1", start_ns, fields, rev="0")


@pytest.fixture(name="paris_ns")
def _paris_ns() -> Callable[..., int]:
    return paris_ns


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    store, book = SqliteStore(tmp_path / "store.db"), Book(tmp_path / "book.db")
    yield Port(store, book)
    store.close()
    book.close()


@pytest.fixture
def demo(port: Port) -> Port:
    """75 minutes with one call of 44 minutes at up to 7 MW, a hole of four minutes in it, and three lockages."""
    fill_demo(port)
    return port


def fill_demo(port: Port) -> None:
    port.site()
    start_ns = paris_ns("2026-10-14T08:02")
    idle = [500] * 13
    charging = [60_000 + 1_000 * i for i in range(6)] + [116_667] * 22 + [110_000 - 3_000 * i for i in range(16)]
    port.minutes(start_ns, idle)
    at_ns = start_ns + 13 * MINUTE_NS
    port.minutes(at_ns, charging[:20])
    port.minutes(at_ns + 20 * MINUTE_NS, charging[20:24], estimated=True)
    port.minutes(at_ns + 24 * MINUTE_NS, charging[24:])
    port.minutes(at_ns + 44 * MINUTE_NS, [500] * 18)
    port.call(at_ns + 7 * NS, at_ns + 44 * MINUTE_NS - 11 * NS, sum(charging) - 300)
    for i, (way, seen) in enumerate((("down", 1), ("up", 1), ("down", 0))):
        begin_ns = start_ns + i * 25 * MINUTE_NS
        port.lockage(begin_ns, begin_ns + (20 + i) * MINUTE_NS, way, seen)


@pytest.fixture(scope="session")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonthStore]:
    """October 2026 of `port-day`; made by the first process that asks, read by all. Do not write to it."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    found = month_store(run / "port-day-2026-10")
    yield found
    found.store.close()
    found.book.close()
