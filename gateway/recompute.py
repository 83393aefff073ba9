"""Minutes of a meter computed again from its raw rows, by the kernels of the edge, and what differs as revisions.

A meter that was replaced counts from the journal as from the site file. Minutes of which the store knows less now
than the gateway did (raw rows removed, or dropped on their way) stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp import energy, ledger
from edge.wire import Catalogue, RowLine, Value
from gateway.errors import ConfigError
from gateway.journal import Entry, MeterReplaced, in_force
from gateway.store import Store

NS = 1_000_000_000
DAY_NS = 86_400 * NS
MINUTE_NS = 60 * NS
FIRST_REV = 1000  # the edge numbers below
LOOKS_NS = (3600 * NS, DAY_NS, 7 * DAY_NS, ledger.LONGEST_SILENCE_NS)  # how far a reading is looked for
PART_NS = 7 * DAY_NS  # raw rows in memory at a time
ROWS_AT_ONCE = 5000
LESS_S = 1.0  # a minute that is covered by so much less is not put in place of the one that is there
POWER, IMPORT, EXPORT = "power_w", "energy_import_total_wh", "energy_export_total_wh"
WAYS = ("import", "export")
NOT_SCANNED = "f"
EVENTS = {
    energy.EVENT_ROLLOVER: "roll-over", energy.EVENT_RESET: "reset", energy.EVENT_GLITCH: "glitch",
    energy.EVENT_AMBIGUOUS: "gap refused", energy.EVENT_LOST: "register lost", ledger.REPLACED: "replaced",
    ledger.REPLACEMENT_REFUSED: "replacement refused", ledger.REPLACEMENT_TOO_LATE: "replacement too late",
    ledger.SILENCE_REFUSED: "silence refused",
}  # fmt: skip


@dataclass
class Outcome:
    """What came of it. `lines` are revisions to be written, in order of time."""

    lines: list[RowLine] = field(default_factory=list)
    rows: int = 0
    computed: int = 0
    kept: int = 0  # of which less is known now
    absent: int = 0  # published, but without any raw row now
    events: list[str] = field(default_factory=list)
    refused: int = 0  # replacements that do not fit


@dataclass(frozen=True)
class Meter:
    """A meter as its gateway counts it."""

    site: str
    gateway: str
    device: str
    max_gap_ns: int
    max_power_w: float
    ratio: float
    range_wh: float
    power_digit: int | None  # place of its power in `q`
    replacements: NDArray[Any]

    @classmethod
    def of(cls, catalogue: Catalogue, device: Mapping[str, Any], entries: Sequence[Entry]) -> "Meter":
        """Raises: ConfigError if the gateway is too old to say how it counts."""
        name, counting = str(device["name"]), device.get("counting")
        if counting is None:
            raise ConfigError(
                f"{catalogue.gateway}: its catalogue does not say how {name} is counted;"
                " start a newer bollard edge there once"
            )
        points = [point["name"] for point in device["points"]]
        return cls(
            catalogue.site, catalogue.gateway, name, int(counting["max_gap_s"] * NS),
            float(counting["max_power_w"]), float(counting["ratio"]), float(counting["range_wh"]),
            points.index(POWER) if POWER in points else None, _replacements(catalogue, name, entries),
        )  # fmt: skip


@dataclass
class Raw:
    """Raw rows of a meter in order of time, as the kernel takes them."""

    t_ns: NDArray[np.int64]
    power_w: NDArray[np.float64]
    import_wh: NDArray[np.float64]
    export_wh: NDArray[np.float64]
    live: NDArray[np.bool_]  # the scan asked for power; else it is the last one known
    origin: str


def recompute_minutes(store: Store, meter: Meter, start_ns: int, stop_ns: int) -> Outcome:
    """Compute the minutes of `start_ns <= t < stop_ns` again. Writes nothing. Raises: StoreError, ..."""
    begin_ns = _anchor_ns(store, meter, start_ns)
    state = ledger.init(_epoch(store, meter, begin_ns))
    state["replaced"] = int((meter.replacements["t_ns"] <= begin_ns).sum())
    outcome, events, last_w = Outcome(), np.zeros(4096, ledger.EVENT), np.nan
    until_ns = stop_ns + LOOKS_NS[1]  # so far a reading may be away that closes the last minute
    while begin_ns < until_ns and int(state["meter"]["t_ns"][0]) < stop_ns + LOOKS_NS[0]:
        raw, last_w = raw_rows(store, meter, begin_ns, min(begin_ns + PART_NS, until_ns), last_w)
        minutes = np.zeros(ledger.places(state, raw.t_ns), energy.OUT)
        n, m = ledger.run(
            state, energy.init(), raw.t_ns, raw.power_w, raw.import_wh, raw.export_wh, meter.replacements,
            meter.max_gap_ns, meter.max_power_w, meter.range_wh, minutes, events,
        )  # fmt: skip
        outcome.rows += len(raw.t_ns)
        _note_events(outcome, events[:m], start_ns, stop_ns)
        found = minutes[:n]
        inside = (found["minute_ns"] >= start_ns) & (found["minute_ns"] < stop_ns)
        _compare(store, meter, found[inside], raw.origin, outcome)
        begin_ns = min(begin_ns + PART_NS, until_ns)
    published = store.columns(
        "energy_1m", meter.device, ["epoch"], start_ns, stop_ns, meter.site, gateway=meter.gateway
    )
    outcome.absent = max(0, len(published) - outcome.computed)
    return outcome


# What is there.


def raw_rows(store: Store, meter: Meter, start_ns: int, stop_ns: int, last_w: float) -> tuple[Raw, float]:
    """Raw rows; of a scan without power the last power stands in, as at the edge. Also that of the last row."""
    where = (start_ns, stop_ns, meter.site)
    told = store.columns("meter", meter.device, [POWER, IMPORT, EXPORT], *where, gateway=meter.gateway)
    doubts = store.columns("meter", meter.device, ["q"], *where, gateway=meter.gateway)
    late = store.columns("meter", meter.device, ["late"], *where, gateway=meter.gateway)
    asks = [_asks_power(meter, q) for q in doubts.text["q"]]
    asked_ns = doubts.t_ns[np.array(asks, bool)]  # rows with doubts whose scan asked for power
    silent_ns = asked_ns[~_found(told.t_ns, asked_ns)]
    silent_ns = silent_ns[~_near(silent_ns, late.t_ns, meter.max_gap_ns)]  # the device has told of it afterwards
    places = np.searchsorted(told.t_ns, silent_ns)
    t_ns = np.insert(told.t_ns, places, silent_ns)
    power_w, import_wh, export_wh = (
        np.insert(told[name] * meter.ratio, places, np.nan) for name in (POWER, IMPORT, EXPORT)
    )
    live = np.isfinite(power_w)
    live[np.searchsorted(t_ns, asked_ns[_found(t_ns, asked_ns)])] = True
    if not live.all():
        newest = np.maximum.accumulate(np.where(live, np.arange(len(t_ns)), -1))
        power_w = np.where(newest >= 0, power_w[newest], last_w)
    origins = told.tags.get("origin")
    origin = str(origins[-1]) if origins is not None and len(told) else ""
    raw = Raw(t_ns, power_w, import_wh, export_wh, live, origin)
    return raw, float(power_w[-1]) if len(t_ns) else last_w


def _asks_power(meter: Meter, quality: object) -> bool:
    at = meter.power_digit
    return isinstance(quality, str) and at is not None and at < len(quality) and quality[at] != NOT_SCANNED


def _found(t_ns: NDArray[np.int64], wanted_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some instants are among those in order."""
    if not len(t_ns):
        return np.zeros(len(wanted_ns), bool)
    return np.asarray(t_ns[np.searchsorted(t_ns, wanted_ns).clip(max=len(t_ns) - 1)] == wanted_ns)


def _near(t_ns: NDArray[np.int64], others: NDArray[np.int64], within_ns: int) -> NDArray[np.bool_]:
    """Which instants have one of the others that near."""
    if not len(others):
        return np.zeros(len(t_ns), bool)
    after = np.searchsorted(others, t_ns).clip(max=len(others) - 1)
    before = (after - 1).clip(min=0)
    away_ns = np.minimum(np.abs(others[after] - t_ns), np.abs(others[before] - t_ns))
    return np.asarray(away_ns <= within_ns)


def _anchor_ns(store: Store, meter: Meter, start_ns: int) -> int:
    """A row with a register before the first minute: what was before it does not matter."""
    for look_ns in LOOKS_NS:
        found = store.columns(
            "meter", meter.device, [IMPORT], start_ns - look_ns, start_ns, meter.site, gateway=meter.gateway
        )
        if len(found):
            return int(found.t_ns[0])
    return start_ns


def _epoch(store: Store, meter: Meter, before_ns: int) -> int:
    """Of the last minute that was published before."""
    found = store.columns(
        "energy_1m", meter.device, ["epoch"], before_ns - LOOKS_NS[-1], before_ns + 1, meter.site,
        gateway=meter.gateway,
    )  # fmt: skip
    return int(found.whole("epoch")[-1]) if len(found) else 0


def _replacements(catalogue: Catalogue, device: str, entries: Sequence[Entry]) -> NDArray[Any]:
    """Of the site file and of the journal; where both speak of one instant, the journal counts."""
    table: Mapping[str, Any] = next((d for d in catalogue.settings.get("device", ()) if d["name"] == device), {})
    found: dict[int, tuple[Any, ...]] = {}
    for change in (table.get("meter") or {}).get("replacement", ()):
        at_ns = _ns(datetime.fromisoformat(change["at"]))
        found[at_ns] = tuple(change.get(f"{end}_{way}_wh") for end in ("closing", "opening") for way in WAYS)
    for entry in in_force(entries):
        body = entry.body
        if isinstance(body, MeterReplaced) and body.meter == device:
            indices = (
                body.closing_import_wh,
                body.closing_export_wh,
                body.opening_import_wh,
                body.opening_export_wh,
            )
            found[_ns(body.at)] = indices
    rows = [(t, *(np.nan if wh is None else float(wh) for wh in found[t])) for t in sorted(found)]
    return np.array(rows, ledger.REPLACEMENT)


def _ns(at: datetime) -> int:
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * NS + since.microseconds * 1000


# What differs.


def _compare(store: Store, meter: Meter, minutes: NDArray[Any], origin: str, outcome: Outcome) -> None:
    """Add a revision for each minute that is not as it was published, unless less is known of it now."""
    outcome.computed += len(minutes)
    if not len(minutes):
        return
    names = [name for name in energy.OUT.names or () if name != "minute_ns"]
    t_ns = minutes["minute_ns"]
    there = store.columns(
        "energy_1m", meter.device, names, int(t_ns[0]), int(t_ns[-1]) + 1, meter.site, gateway=meter.gateway
    )
    at = np.searchsorted(there.t_ns, t_ns).clip(max=max(0, len(there) - 1))
    known = there.t_ns[at] == t_ns if len(there) else np.zeros(len(t_ns), bool)
    differs = ~known
    for name in names:
        if len(there):
            differs |= _unequal(minutes[name], there, name, at)
    less = known & (minutes["covered_s"] < there["covered_s"][at] - LESS_S) if len(there) else ~known & False
    outcome.kept += int((differs & less).sum())
    revs = np.where(known, there.rev[at], -1) if len(there) else np.full(len(t_ns), -1)
    tags = {"site": meter.site, "gateway": meter.gateway, "device": meter.device, "origin": origin}
    for i in np.flatnonzero(differs & ~less).tolist():
        rev = max(int(revs[i]) + 1, FIRST_REV)
        fields = _fields(minutes[i], names)
        outcome.lines.append(RowLine("energy_1m", tags | {"rev": str(rev)}, fields, int(t_ns[i])))


def _unequal(column: NDArray[Any], there: Any, name: str, at: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether a field is another than published; unknown equals unknown, which is -1 for a register here."""
    if column.dtype.kind == "f":
        published = there[name][at]
        return np.asarray((column != published) & ~(np.isnan(column) & np.isnan(published)))
    return np.asarray(column != np.maximum(there.whole(name)[at], -1))


def _fields(minute: Any, names: Sequence[str]) -> dict[str, Value]:
    """As the edge writes them: unknown ones are left out."""
    found = {name: minute[name].item() for name in names}
    return {n: v for n, v in found.items() if v == v and not (n.startswith("register_") and v < 0)}


def _note_events(outcome: Outcome, events: NDArray[Any], start_ns: int, stop_ns: int) -> None:
    for event in events:
        if start_ns <= event["t_ns"] < stop_ns:
            at = datetime.fromtimestamp(int(event["t_ns"]) / NS, UTC).isoformat(timespec="seconds")
            what = EVENTS[int(event["event"])]
            outcome.events.append(f"{at} {what} {event['before_wh']} Wh -> {event['after_wh']} Wh")
            outcome.refused += int(event["event"]) in (ledger.REPLACEMENT_REFUSED, ledger.REPLACEMENT_TOO_LATE)


def write(store: Store, lines: Sequence[RowLine], types: Any) -> list[str]:
    """Make revisions durable; reasons of what was refused."""
    return [why for part in _parts(lines) for _, why in store.write(part, types)]


def _parts(lines: Sequence[RowLine]) -> Iterator[Sequence[RowLine]]:
    for i in range(0, len(lines), ROWS_AT_ONCE):
        yield lines[i : i + ROWS_AT_ONCE]
