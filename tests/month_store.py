"""October 2026 of `port-day` in a real store: plants through `edge.compute`, no sockets, and the planted truth.

Three berths of 30 MW and the port's own supply under one delivery point. Meters are read every five minutes on the
minute, so that the truth of the month is plain integer arithmetic on registers, and a berth's meter also in the
seconds in which a plug goes in or out. Planted: two outages of the delivery meter and one of a berth's, a register
that goes over, a meter that is replaced; the change of clocks of 25 October comes by itself.

Made once for all test processes of a run; tests only read it.
"""

import fcntl
import heapq
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.row import Quality, Row, empty_row
from edge.compute import Compute
from edge.config import LoadedSite, catalogue
from edge.wire import RowLine, Value
from firmware_sim.bench import Bench
from firmware_sim.plant import supply as sp
from firmware_sim.plant import tower as tw
from firmware_sim.plant.port import Port as Plant
from firmware_sim.scenario import load_scenario
from gateway.book import Book
from gateway.journal import CallEntry, NewEntry, encode
from gateway.store.sqlite import SqliteStore

NS, MINUTE_NS = 1_000_000_000, 60 * 1_000_000_000
SCAN_S = 300
DAY_S = 86_400
SITE, MONTH = "port-day", "2026-10"
BEGIN_NS = int(datetime(2026, 9, 30, 21, 0, tzinfo=UTC).timestamp()) * NS  # an hour before the local month
START_NS = int(datetime(2026, 9, 30, 22, 0, tzinfo=UTC).timestamp()) * NS
STOP_NS = int(datetime(2026, 10, 31, 23, 0, tzinfo=UTC).timestamp()) * NS  # 745 h later
SECONDS = (STOP_NS - BEGIN_NS) // NS + 3600
AUXILIARY_W = 80_000
TOLD_AGAIN_NS = 40 * NS  # after the plug went out; so long the register is followed, as some lag
WIDTH_WH = 2**32  # of the register that goes over
FIRST_WH = {
    "delivery-1": 1_843_275_410, "meter-1": 20_000_000, "meter-2": WIDTH_WH - 1_200_000_000,
    "meter-3": 777_000_000, "aux-1": 5_000,
}  # fmt: skip
OPENING_WH = 1_500  # what the new meter-3 shows when it is put in


def at_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


REPLACED_NS = at_ns("2026-10-15T03:59")  # between two readings, while no ship is there
OUTAGES = {  # meter -> (last reading before, first reading after), both taken
    "delivery-1": (
        (at_ns("2026-10-07T10:00"), at_ns("2026-10-07T12:30")),
        (at_ns("2026-10-25T00:20"), at_ns("2026-10-25T01:10")),  # across the repeated hour
    ),
    "meter-1": ((at_ns("2026-10-20T13:40"), at_ns("2026-10-20T14:10")),),
}  # fmt: skip

SITE_HEAD = """
schema = 1
[site]
name = "port-day"
gateway = "gw-1"
[broker]
host = "127.0.0.1"
"""
NARROW = """
schema = 1
kind = "meter"
model = "a meter with a register of 32 bits"
protocol = "modbus"
source = "made for a test"
table = "holding"
[[point]]
name = "power_w"
address = 0
type = "float32"
[[point]]
name = "energy_import_total_wh"
address = 2
type = "uint32"
"""


SHIPS = {  # invented numbers whose check digit is right
    "AURELIE": "9000003", "BELLE ETOILE": "9000015", "CAP GRISET": "9000027", "DUNE BLANCHE": "9000039",
    "ESTRAN": "",
}  # fmt: skip


@dataclass(frozen=True)
class PlantedCall:
    """A ship at a berth. `first_ns`, `last_ns`: first and last second in which it was mated;
    `energy_wh`: through the berth's meter, from then until the last reading before the tower said again
    that the plug was out."""

    berth: str
    vessel: str
    arrival_ns: int
    departure_ns: int
    first_ns: int
    last_ns: int
    energy_wh: int


@dataclass
class Truth:
    """What the plants did, and what was planted. `count_wh` never goes over and knows of no replacement."""

    t_ns: NDArray[np.int64]  # of each possible reading
    count_wh: dict[str, NDArray[np.int64]]  # per meter
    read: dict[str, NDArray[np.bool_]]  # was it taken?
    calls: list[PlantedCall]  # by berth, then in order
    closing_wh: int = 0  # last reading of the old meter-3

    def energy_wh(self, meter: str, start_ns: int = START_NS, stop_ns: int = STOP_NS) -> int:
        """Between two instants at which a reading was possible."""
        first, last = np.searchsorted(self.t_ns, (start_ns, stop_ns))
        return int(self.count_wh[meter][last] - self.count_wh[meter][first])

    def lost_wh(self, meter: str) -> int:
        """Energy across the outages: known from the registers, its place in time estimated."""
        return sum(self.energy_wh(meter, *outage) for outage in OUTAGES.get(meter, ()))

    @staticmethod
    def lost_ns(meter: str) -> int:
        return sum(stop_ns - start_ns for start_ns, stop_ns in OUTAGES.get(meter, ()))


@dataclass
class MonthStore:
    store: SqliteStore
    book: Book
    truth: Truth
    folder: Path


def month_store(folder: Path) -> MonthStore:
    """The month, made in `folder` unless it is there. `store.db`, `book.db`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "truth.pickle").exists():
            _make(folder)
    truth = pickle.loads((folder / "truth.pickle").read_bytes())
    return MonthStore(SqliteStore(folder / "store.db"), Book(folder / "book.db"), truth, folder)


@dataclass(frozen=True)
class Moment:
    """What a tower and its meter showed in a second in which the plug went in or out."""

    t_ns: int
    berth: int
    mated: bool
    parted: bool  # the plug has just gone out
    state: float
    power_w: float
    count_wh: int


def _make(folder: Path) -> None:
    plant = Bench(load_scenario("port-day")).points["point-1"].port
    month = _run(plant)
    read = {meter: _taken(month.t_ns, meter) for meter in FIRST_WH}
    calls = [call for n in range(3) for call in _calls(plant, n, month)]
    truth = Truth(month.t_ns, month.count_wh, read, calls, month.closing_wh)
    loaded = _site(folder, month.closing_wh)
    store, book = SqliteStore(folder / "store.db"), Book(folder / "book.db")
    book.put_catalogue(catalogue(loaded))
    book.write_journal([entry for call in calls if (entry := _stay(call)) is not None], STOP_NS)
    _feed(loaded, store, truth, month)
    store.close()
    book.close()
    (folder / "truth.pickle").write_bytes(pickle.dumps(truth))


@dataclass
class PlantMonth:
    """What the plants did. Columns at the instants of readings; `moments` in order of time."""

    t_ns: NDArray[np.int64]
    count_wh: dict[str, NDArray[np.int64]]  # per meter
    power_w: dict[str, NDArray[np.float64]]
    state: list[NDArray[np.float64]]  # per tower
    moments: list[Moment]
    closing_wh: int  # of meter-3 when it is replaced


def _run(plant: Plant) -> PlantMonth:
    count = SECONDS // SCAN_S + 1
    trace, kept = np.zeros((DAY_S, plant.columns)), np.zeros((count, plant.columns))
    moments: list[Moment] = []
    closing_wh, replaced_s = 0, (REPLACED_NS - BEGIN_NS) // NS
    for first in range(0, SECONDS, DAY_S):
        span = min(DAY_S, SECONDS - first)
        plant.step(span, trace[:span])
        kept[first // SCAN_S + 1 : (first + span) // SCAN_S + 1] = trace[SCAN_S - 1 : span : SCAN_S]
        moments += _moments(plant, first, trace[:span])
        if first < replaced_s <= first + span:
            closing_wh = _wh("meter-3", trace[replaced_s - first - 1, plant.column(2, sp.TR_GRID_J)])
    seconds = np.arange(count) * SCAN_S
    joules = {"delivery-1": kept[:, sp.TR_POINT_J], "aux-1": AUXILIARY_W * seconds.astype(np.float64)}
    power_w = {"delivery-1": kept[:, sp.TR_POINT_W], "aux-1": np.full(count, float(AUXILIARY_W))}
    for n in range(3):
        joules[f"meter-{n + 1}"] = kept[:, plant.column(n, sp.TR_GRID_J)]
        power_w[f"meter-{n + 1}"] = kept[:, plant.column(n, sp.TR_GRID_W)]
    return PlantMonth(
        BEGIN_NS + seconds * NS,
        {meter: FIRST_WH[meter] + (j / 3600.0).astype(np.int64) for meter, j in joules.items()},
        power_w,
        [kept[:, plant.column(n, sp.TR_STATE)] for n in range(3)],
        sorted(moments, key=lambda m: m.t_ns),
        closing_wh,
    )


def _wh(meter: str, joules: float) -> int:
    return FIRST_WH[meter] + int(joules / 3600.0)


def _moments(plant: Plant, first: int, trace: NDArray[np.float64]) -> Iterator[Moment]:
    """The last second before each change of the plug, and the first after it."""
    for n in range(3):
        state, power_w, joules = (
            trace[:, plant.column(n, what)] for what in (sp.TR_STATE, sp.TR_GRID_W, sp.TR_GRID_J)
        )
        mated = _connected(state)
        for i in np.flatnonzero(mated[1:] != mated[:-1]):
            for at in (int(i), int(i) + 1):
                yield Moment(
                    t_ns=BEGIN_NS + (first + at + 1) * NS, berth=n, mated=bool(mated[at]),
                    parted=bool(at > i and not mated[at]), state=float(state[at]), power_w=float(power_w[at]),
                    count_wh=_wh(f"meter-{n + 1}", joules[at]),
                )  # fmt: skip


def _taken(t_ns: NDArray[np.int64], meter: str) -> NDArray[np.bool_]:
    """All readings but those inside an outage."""
    taken = np.ones(len(t_ns), bool)
    for before_ns, after_ns in OUTAGES.get(meter, ()):
        taken &= (t_ns <= before_ns) | (t_ns >= after_ns)
    return taken


def _connected(state: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ((state >= tw.HANDSHAKE) & (state <= tw.RAMP_DOWN)) | (state == tw.PAUSED)


def _calls(plant: Plant, berth: int, month: PlantMonth) -> Iterator[PlantedCall]:
    """Of one berth, from the timetable and from what its plug did."""
    mated = [m for m in month.moments if m.berth == berth and m.mated]
    parted = [m for m in month.moments if m.berth == berth and m.parted]
    scanned_wh = dict(zip(month.t_ns.tolist(), month.count_wh[f"meter-{berth + 1}"].tolist(), strict=True))
    for ship, arrive_s, depart_s in plant.calls[berth].tolist():
        if ship < 0 or depart_s > SECONDS:
            continue
        start_ns, stop_ns = BEGIN_NS + int(arrive_s) * NS, BEGIN_NS + int(depart_s) * NS
        there = [m for m in mated if start_ns <= m.t_ns < stop_ns + 600 * NS]
        if len(there) == 2:
            first, last = there
            name = plant.ship_names[int(ship)].lower().replace(" ", "-")
            after = next(m for m in parted if m.t_ns > last.t_ns)
            scan_ns = -(-after.t_ns // (SCAN_S * NS)) * SCAN_S * NS
            lagging = scan_ns <= after.t_ns + TOLD_AGAIN_NS
            energy_wh = (scanned_wh[scan_ns] if lagging else after.count_wh) - first.count_wh
            yield PlantedCall(f"berth-{berth + 1}", name, start_ns, stop_ns, first.t_ns, last.t_ns, energy_wh)


def _stay(call: PlantedCall) -> NewEntry | None:
    """As the harbour office writes it down; it knows ships by their IMO number."""
    imo = {name.lower().replace(" ", "-"): imo for name, imo in SHIPS.items()}[call.vessel]
    if not imo:
        return None
    arrival, departure = (datetime.fromtimestamp(t // NS, UTC) for t in (call.arrival_ns, call.departure_ns))
    body = CallEntry(imo=imo, berth=call.berth, arrival=arrival, departure=departure)
    return NewEntry(SITE, "call", encode(body), "A. Martin", "harbour log")


def _site(folder: Path, closing_wh: int) -> LoadedSite:
    (folder / "narrow.toml").write_text(NARROW)
    tables = []
    for name in FIRST_WH:
        profile = "narrow.toml" if name == "meter-2" else "generic-meter"
        role = {"delivery-1": "delivery", "aux-1": "auxiliary"}.get(name, "berth")
        tables.append(
            f'[[device]]\nname = "{name}"\nprofile = "{profile}"\nhost = "127.0.0.1"\norigin = "sim"\n'
            f'interval_s = {SCAN_S}\n[device.meter]\nrole = "{role}"\nmax_gap_s = {SCAN_S + 30}\n'
            f'serial = "SIM-{name}"\naccuracy_class = "0.2S"\nct_class = "0.2S"\nvt_class = "0.2"'
        )
        tables.append('supply = "reseller"' if role == "delivery" else 'parent = "delivery-1"')
        if name == "meter-3":
            at = datetime.fromtimestamp(REPLACED_NS // NS, UTC).isoformat()
            tables.append(
                f"[[device.meter.replacement]]\nat = {at}\nclosing_import_wh = {closing_wh}\n"
                f"opening_import_wh = {OPENING_WH}\nclosing_export_wh = 0\nopening_export_wh = 0\n"
                'reason = "verification, by A. Martin"'
            )
    for n in (1, 2, 3):
        device = f'name = "charger-{n}"\nprofile = "generic-charger"\nhost = "127.0.0.1"\norigin = "sim"'
        berth = f'name = "berth-{n}"\ncharger = "charger-{n}"\nmeter = "meter-{n}"\nbaseline = "aux.mgo.sfoc.epa"'
        tables.append(f"[[device]]\n{device}\n[[berth]]\n{berth}")
    for name, imo in SHIPS.items():
        slug = name.lower().replace(" ", "-")
        tables.append(f'[[vessel]]\nname = "{slug}"\nplc_names = ["{name}"]\nimo = "{imo}"')
    path = folder / "site.toml"
    path.write_text(SITE_HEAD + "\n".join(tables))
    return LoadedSite.load(path)


def _feed(loaded: LoadedSite, store: SqliteStore, truth: Truth, month: PlantMonth) -> None:
    """All rows in order of time through the computations, and what comes out into the store."""
    compute, lines = Compute(loaded), []
    tags = {"site": SITE, "gateway": "gw-1", "origin": "sim"}
    plugs = sorted(_plugs(loaded, truth, month), key=_time)
    for device, row in heapq.merge(_scans(loaded, truth, month), plugs, key=_time):
        compute.vessel_of(device, row)
        lines += [
            RowLine(out.kind, tags | {"device": out.device or ""} | out.tags, _known(out.fields), out.t_ns)
            for out in compute.feed(device, row)
        ]
        if len(lines) > 20_000:
            _write(store, lines)
            lines = []
    _write(store, lines)


def _time(pair: tuple[str, Row]) -> int:
    return pair[1].t_ns


def _write(store: SqliteStore, lines: list[RowLine]) -> None:
    refused = store.write(lines, {})
    assert not refused, refused[:3]


def _known(fields: Mapping[str, Value]) -> dict[str, Value]:
    """As the wire does: what is unknown is left out."""
    return {name: value for name, value in fields.items() if value == value}


def _scans(loaded: LoadedSite, truth: Truth, month: PlantMonth) -> Iterator[tuple[str, Row]]:
    """Every meter and tower, every five minutes; towers without a ship every ten."""
    meters = {meter: _Row(loaded, meter, METER_POINTS) for meter in FIRST_WH}
    towers = [_Row(loaded, f"charger-{n}", TOWER_POINTS) for n in (1, 2, 3)]
    shown_wh = {meter: _shown(meter, month.t_ns, month.count_wh[meter], truth) for meter in FIRST_WH}
    for i, t_ns in enumerate(month.t_ns.tolist()):
        for meter, made in meters.items():
            if truth.read[meter][i]:
                yield made.row(t_ns, (month.power_w[meter][i], shown_wh[meter][i], 0.0))
        for tower, state in zip(towers, month.state, strict=True):
            mated = bool(_connected(state[i]))
            if mated or i % 2 == 0:
                yield tower.row(t_ns + 1000, (state[i], float(mated)))


def _plugs(loaded: LoadedSite, truth: Truth, month: PlantMonth) -> Iterator[tuple[str, Row]]:
    """Meter and tower of a berth where its plug goes in or out, and the tower once more soon after."""
    meters = [_Row(loaded, f"meter-{n}", METER_POINTS) for n in (1, 2, 3)]
    towers = [_Row(loaded, f"charger-{n}", TOWER_POINTS) for n in (1, 2, 3)]
    ships = [{c.first_ns: c.vessel for c in truth.calls if c.berth == f"berth-{n}"} for n in (1, 2, 3)]
    for m in month.moments:
        meter = f"meter-{m.berth + 1}"
        if not any(start_ns < m.t_ns < stop_ns for start_ns, stop_ns in OUTAGES.get(meter, ())):
            shown = int(_shown(meter, np.array([m.t_ns]), np.array([m.count_wh]), truth)[0])
            for after_ns in (1, 3000):  # the reading before the tower's row opens a call, the next one covers it
                yield meters[m.berth].row(m.t_ns + after_ns, (m.power_w, shown, 0.0))
        yield towers[m.berth].row(m.t_ns + 2000, (m.state, float(m.mated)), ships[m.berth].get(m.t_ns))
        if m.parted:
            yield towers[m.berth].row(m.t_ns + TOLD_AGAIN_NS, (m.state, 0.0))


METER_POINTS = ("power_w", "energy_import_total_wh", "energy_export_total_wh")
TOWER_POINTS = ("state", "mated")


class _Row:
    """Makes rows of a device in which some points are known."""

    def __init__(self, loaded: LoadedSite, device: str, points: tuple[str, ...]) -> None:
        profile = loaded.profiles[device]
        self._device, self._empty = device, empty_row(len(profile.points), 0, Quality.UNKNOWN)
        self._at = [profile.index[name] for name in points if name in profile.index]
        self._vessel = profile.index.get("vessel", -1)

    def row(self, t_ns: int, values: tuple[float, ...], vessel: str | None = None) -> tuple[str, Row]:
        row = Row(t_ns, self._empty.values.copy(), self._empty.quality.copy())
        row.values[self._at] = values[: len(self._at)]
        row.quality[self._at] = Quality.GOOD
        if vessel is not None:
            row.text[self._vessel] = vessel
        return self._device, row


def _shown(meter: str, t_ns: NDArray[np.int64], count_wh: NDArray[np.int64], truth: Truth) -> NDArray[np.int64]:
    """What the meter's register shows: it may go over, or be another meter's."""
    if meter == "meter-2":
        return count_wh % WIDTH_WH
    if meter == "meter-3":
        return np.where(t_ns > REPLACED_NS, count_wh - truth.closing_wh + OPENING_WH, count_wh)
    return count_wh
