"""A month of a hundred meters in a SQLite store, filled past the store's own way in: that is not what is timed."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from edge.wire import Catalogue, RowLine, Value
from gateway.book import Book
from gateway.report.month import NS, Month
from gateway.store.sqlite import SqliteStore

SITE, GATEWAY, MONTH = "bench-port", "gw-1", "2026-09"
METERS, CALLS = 100, 15_000  # one delivery meter, the others at berths
MINUTE_NS = 60 * NS
FIELDS = (
    "import_wh", "export_wh", "max_power_w", "covered_s", "measured_wh", "integrated_wh", "estimated_wh",
    "register_import_wh", "register_export_wh", "register_t_ns", "epoch",
)  # fmt: skip


def fill(folder: Path, meters: int = METERS, calls: int = CALLS) -> int:
    """Store, book and shore file in `folder`. Returns the number of minutes."""
    rng = np.random.default_rng(20260901)
    month = Month.parse(MONTH, "Europe/Paris")
    names = ["delivery-1", *(f"meter-{i}" for i in range(1, meters))]
    chargers = [f"charger-{i}" for i in range(1, meters)]
    folder.joinpath("shore.toml").write_text(
        'schema = 1\n[store]\nurl = "sqlite:store.db"\n[book]\npath = "book.db"\n'
    )
    with closing(Book(folder / "book.db")) as book:
        book.put_catalogue(Catalogue(SITE, GATEWAY, "0" * 12, _settings(names, chargers), ()))
    t_ns = np.arange(month.start_ns, month.stop_ns, MINUTE_NS)
    with closing(SqliteStore(folder / "store.db")) as store:
        for name in names:
            store.write([_minute(name, int(t_ns[0]))], {})
        energy_wh = {name: rng.integers(0, 500_000, len(t_ns)) for name in names}
        for k, charger in enumerate(chargers):
            count = (calls + k) // len(chargers)
            store.write(
                [_call(charger, i, month, count, rng, energy_wh[f"meter-{k + 1}"]) for i in range(count)], {}
            )
    with closing(sqlite3.connect(folder / "store.db")) as db:
        db.execute("PRAGMA synchronous = OFF")
        series = dict(db.execute("SELECT device, id FROM series WHERE kind = 'energy_1m'"))
        for name in names:
            columns = _minutes(t_ns[1:], energy_wh[name][1:], rng)
            marks = ", ".join("?" * (len(FIELDS) + 2))
            db.executemany(
                f'INSERT INTO rows_energy_1m ("@series", "@t_ns", {", ".join(FIELDS)}) VALUES ({marks})',
                zip([series[name]] * (len(t_ns) - 1), t_ns[1:].tolist(), *columns, strict=True),
            )
            db.commit()
    return len(names) * len(t_ns)


def _minutes(t_ns: np.ndarray, import_wh: np.ndarray, rng: np.random.Generator) -> list[list[float]]:
    count = len(t_ns)
    whole = rng.random(count) > 0.001
    zero, total = np.zeros(count, np.int64), np.cumsum(import_wh) + 10**6
    columns = (
        import_wh, zero, import_wh * 60.0, np.where(whole, 60.0, 31.5), import_wh, zero, zero,
        total, zero, t_ns + 59 * NS, zero,
    )  # fmt: skip
    return [column.tolist() for column in columns]


def _tags(device: str, **more: str) -> dict[str, str]:
    return {"site": SITE, "gateway": GATEWAY, "device": device, "origin": "sim", "rev": "0", **more}


def _minute(device: str, t_ns: int) -> RowLine:
    fields: dict[str, Value] = dict.fromkeys(FIELDS, 0)
    fields |= {"max_power_w": 0.0, "covered_s": 60.0, "register_t_ns": t_ns, "register_import_wh": 10**6}
    return RowLine("energy_1m", _tags(device), fields, t_ns)


def _call(
    charger: str, i: int, month: Month, count: int, rng: np.random.Generator, energy_wh: np.ndarray
) -> RowLine:
    """From minute to minute, so that its energy is that of its minutes."""
    first = 1 + i * (len(energy_wh) // (count + 1)) + int(rng.integers(1, 10))
    stop = first + int(rng.integers(20, 60))
    start_ns, end_ns = (month.start_ns + minute * MINUTE_NS for minute in (first, stop))
    number = charger.removeprefix("charger-")
    opening, wh = 10**6 + i * 10**7, int(energy_wh[first:stop].sum())
    fields: dict[str, Value] = {
        "start_ns": start_ns, "end_ns": end_ns, "energy_wh": wh, "register_open_wh": opening,
        "register_close_wh": opening + wh, "integrated_wh": float(wh), "peak_power_w": 2.9e7,
        "covered_s": (end_ns - start_ns) / NS, "connected_s": 100.0, "interruptions": 0,
        "soc_start": 0.3, "soc_end": 0.5 + 0.4 * rng.random(),
        "berth": f"berth-{number}", "meter": f"meter-{number}", "begin_known": 1, "end_known": 1,
    }  # fmt: skip
    return RowLine("session", _tags(charger, vessel=f"ferry-{i % 7}"), fields, start_ns)


def _settings(meters: list[str], chargers: list[str]) -> dict[str, object]:
    def meter(name: str) -> dict[str, object]:
        role = "delivery" if name == "delivery-1" else "berth"
        parent = None if role == "delivery" else "delivery-1"
        return {"role": role, "parent": parent, "serial": name.upper(), "accuracy_class": "0.2S"}

    return {
        "schema": 1,
        "site": {"name": SITE, "gateway": GATEWAY, "timezone": "Europe/Paris"},
        "device": [
            *({"name": name, "meter": meter(name), "lock": None} for name in meters),
            *({"name": name, "meter": None, "lock": None} for name in chargers),
        ],
        "berth": [
            {"name": f"berth-{i}", "charger": f"charger-{i}", "meter": f"meter-{i}", "battery": None,
             "use": "berth_supply", "baseline": "aux.mgo.sfoc.epa"}
            for i in range(1, len(meters))
        ],
        "vessel": [],
    }  # fmt: skip


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"minutes": fill(target)}))
