"""Calls at a berth computed again from the raw rows of its charger, its meter and the ship's battery."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp import calls, session
from edge.wire import Catalogue, RowLine, Value
from gateway.errors import ConfigError
from gateway.recompute import DAY_NS, FIRST_REV, LESS_S, Meter, Outcome, raw_rows
from gateway.store import Columns, Store

LOOK_NS = 2 * DAY_NS  # a call that touches the time began no longer before it, or is left as it is
MOST_CALLS = 10_000
NUMBERS = tuple(name for name in calls.OUT.names or () if calls.OUT[name].kind == "f")


@dataclass(frozen=True)
class Place:
    """A berth as its gateway knows it."""

    site: str
    gateway: str
    berth: str
    charger: str
    meter: Meter
    battery: str | None

    @classmethod
    def of(cls, catalogue: Catalogue, device: Mapping[str, Any]) -> "Place":
        """Raises: ConfigError."""
        name = str(device["name"])
        berth = next((b for b in catalogue.settings.get("berth", ()) if b["charger"] == name), None)
        if berth is None:
            raise ConfigError(f"{name}: no berth of the site file has this charger; its calls are not counted")
        meter = next(d for d in catalogue.devices if d["name"] == berth["meter"])
        counted = Meter.of(catalogue, meter, ())
        return cls(catalogue.site, catalogue.gateway, str(berth["name"]), name, counted, berth.get("battery"))


def recompute_calls(store: Store, place: Place, start_ns: int, stop_ns: int) -> Outcome:
    """Compute the calls that begin at `start_ns <= t < stop_ns` again. Writes nothing. Raises: StoreError, ..."""
    rows, vessels = _rows(store, place, start_ns - LOOK_NS, stop_ns + LOOK_NS)
    out = np.zeros(MOST_CALLS, calls.OUT)
    found = out[: calls.run(calls.init(place.meter.range_wh), rows, place.meter.max_gap_ns, out)]
    inside = found[(found["start_ns"] >= start_ns) & (found["start_ns"] < stop_ns)]
    outcome = Outcome(rows=len(rows), computed=len(inside))
    names = list(calls.OUT.names or ())
    there = store.columns(
        "session", place.charger, [*names, "withdrawn"], start_ns, stop_ns, place.site, gateway=place.gateway
    )
    published = {int(t): i for i, t in enumerate(there.t_ns)}
    for call in inside:
        fields = _fields(call, place)
        i = published.pop(int(call["start_ns"]), None)
        if i is not None and _same(fields, there, i):
            continue
        if i is not None and call["covered_s"] < there["covered_s"][i] - LESS_S:
            outcome.kept += 1
            continue
        _revise(outcome, place, there, i, fields, int(call["start_ns"]), vessels)
    told = rows["t_ns"][rows["source"] == calls.CHARGER]
    for t_ns, i in published.items():
        if there["withdrawn"][i] == 1:
            continue
        if not _seen(told, t_ns, int(there.whole("end_ns")[i]), place.meter.max_gap_ns):
            outcome.absent += 1
            continue
        fields = {name: there[name][i].item() for name in names if there[name][i] == there[name][i]}
        whole = {name: int(value) for name, value in fields.items() if name not in NUMBERS}
        more: dict[str, Value] = {"berth": place.berth, "meter": place.meter.device, "withdrawn": 1}
        _revise(outcome, place, there, i, fields | whole | more, t_ns, vessels)
    outcome.lines.sort(key=lambda line: line.t_ns)
    return outcome


def _rows(store: Store, place: Place, start_ns: int, stop_ns: int) -> tuple[NDArray[Any], Columns]:
    """All rows of a berth as the kernel takes them, in order of time; and the charger's, with its vessels."""

    def read(kind: str, device: str, names: list[str]) -> Columns:
        return store.columns(kind, device, names, start_ns, stop_ns, place.site, gateway=place.gateway)

    charger = read("charger", place.charger, ["state", "mated", "power_w"])
    meter, _ = raw_rows(store, place.meter, start_ns, stop_ns, np.nan)
    parts = [_table(len(charger), calls.CHARGER), _table(len(meter.t_ns), calls.METER)]
    parts[0]["t_ns"], parts[1]["t_ns"] = charger.t_ns, meter.t_ns
    parts[0]["charger_state"], parts[0]["mated"] = charger["state"], charger["mated"]
    parts[0]["power_w"] = charger["power_w"]
    parts[1]["power_w"], parts[1]["power_read"] = np.where(meter.live, meter.power_w, np.nan), meter.live
    parts[1]["register_wh"] = meter.import_wh
    if place.battery is not None:
        battery = read("battery", place.battery, ["pack_voltage_v", "heartbeat", "q"])
        soc = read("soc", place.battery, ["soc"])
        charges = _table(len(battery), calls.CHARGE)
        charges["t_ns"] = battery.t_ns
        if len(soc):
            at = np.searchsorted(soc.t_ns, battery.t_ns).clip(max=len(soc) - 1)
            charges["soc"] = np.where(soc.t_ns[at] == battery.t_ns, soc["soc"][at], np.nan)
        parts.append(charges)
    rows = np.concatenate(parts)
    return rows[np.argsort(rows["t_ns"], kind="stable")], charger


def _table(n: int, source: int) -> NDArray[Any]:
    rows = np.zeros(n, calls.ROW)
    for name in ("charger_state", "mated", "power_w", "register_wh", "soc"):
        rows[name] = np.nan
    rows["source"] = source
    return rows


def _fields(call: Any, place: Place) -> dict[str, Value]:
    """As the edge writes them: unknown ones are left out."""
    found = {name: call[name].item() for name in calls.OUT.names or ()}
    found = {n: v for n, v in found.items() if v == v and not (n.startswith("register_") and v < 0)}
    if found["peak_10min_ns"] < 0:
        del found["peak_10min_ns"]
    return found | {"berth": place.berth, "meter": place.meter.device}


def _same(fields: Mapping[str, Value], there: Columns, i: int) -> bool:
    if there["withdrawn"][i] == 1:
        return False
    for name in calls.OUT.names or ():
        said = there[name][i] if name in NUMBERS else there.whole(name)[i]
        known = said == said if name in NUMBERS else said != np.iinfo(np.int64).min
        if known != (name in fields) or (known and fields[name] != said):
            return False
    return True


def _seen(told_ns: NDArray[np.int64], start_ns: int, end_ns: int, max_gap_ns: int) -> bool:
    """Whether rows of the charger are there throughout a call: only then it can turn out not to have been."""
    inside = told_ns[(told_ns >= start_ns - max_gap_ns) & (told_ns <= end_ns + session.FLICKER_NS + max_gap_ns)]
    edges = np.concatenate([[start_ns], inside, [end_ns]])
    return bool(np.diff(np.sort(edges)).max() <= max_gap_ns)


def _revise(
    outcome: Outcome, place: Place, there: Columns, i: int | None, fields: Mapping[str, Value], t_ns: int,
    charger: Columns,
) -> None:  # fmt: skip
    rev = max(FIRST_REV, int(there.rev[i]) + 1 if i is not None else 0)
    tags = {"site": place.site, "gateway": place.gateway, "device": place.charger, "rev": str(rev)}
    tags |= _tags(charger, t_ns, int(fields["end_ns"]))
    outcome.lines.append(RowLine("session", tags, fields, t_ns))


def _tags(charger: Columns, start_ns: int, end_ns: int) -> dict[str, str]:
    """Origin, and the vessel that was named last during a call."""
    inside = slice(*np.searchsorted(charger.t_ns, [start_ns, end_ns + 1]))
    vessels = charger.tags.get("vessel")
    named = [v for v in (vessels[inside].tolist() if vessels is not None else []) if v not in ("", "unknown")]
    origins = charger.tags.get("origin")
    origin = str(origins[inside][-1]) if origins is not None and len(origins[inside]) else ""
    return {"origin": origin, "vessel": named[-1] if named else "unknown"}
