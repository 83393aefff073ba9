"""Rows of a lock written straight into a store, and a twin that reckons them second by second."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from edge.wire import Catalogue, RowLine, Value

NS = 1_000_000_000
SITE, GATEWAY, LOCK = "demo-port", "gw-quay-1", "lock-1"
MODES = {"0": "LOCAL", "1": "REMOTE", "2": "MAINTENANCE", "3": "AUTO"}
POINTS = {
    "mode": "int", "centre_link": "int", "estop": "int", "takeover_request": "int", "alarm_word": "int",
    "level_upstream_m": "float", "level_downstream_m": "float", "level_chamber_m": "float",
    "pump_power_w": "float",
}  # fmt: skip
BAND = {"point": "level_upstream_m", "low_m": 21.45, "high_m": 21.75}


def device(name: str = LOCK, points: Iterable[str] = tuple(POINTS), interval_s: float = 1.0) -> dict[str, Any]:
    """A lock as its catalogue tells it."""
    offered = [
        {"name": p, "type": POINTS[p], "unit": "", "scan": "live", "range": None,
         "codes": MODES if p == "mode" else {}, "fr": "", "en": ""}
        for p in points
    ]  # fmt: skip
    rules = {"evaluated": ["mode_change_in_lockage"], "not_evaluated": {"level_moves_closed": "no area"}}
    return {"name": name, "kind": "lock", "interval_s": interval_s, "points": offered, "rules": rules}


def catalogue(*devices: Mapping[str, Any], site: str = SITE, **lock: Any) -> Catalogue:
    """`lock`: settings of every lock's table."""
    found = devices or (device(),)
    table = {"maintenance_mode": 2, "band": [BAND]} | lock
    settings = {
        "schema": 1,
        "site": {"name": site, "gateway": GATEWAY, "timezone": "Europe/Paris"},
        "device": [{"name": d["name"], "meter": None, "lock": table} for d in found],
    }  # fmt: skip
    return Catalogue(site, GATEWAY, "abc123", settings, tuple(found))


def write(store: Any, t_ns: Iterable[int], lock: str = LOCK, site: str = SITE, **columns: Any) -> None:
    """A row per instant; a column is a value for all rows, or a list with None where it is unknown."""
    times = list(t_ns)
    rows = []
    for i, t in enumerate(times):
        told = {name: column[i] if isinstance(column, list) else column for name, column in columns.items()}
        fields: dict[str, Value] = {name: value for name, value in told.items() if value is not None}
        tags = {"site": site, "gateway": GATEWAY, "device": lock, "origin": "sim"}
        if fields:
            rows.append(RowLine("lock", tags, fields, t))
    assert store.write(rows, {("lock", lock): POINTS}) == []  # type: ignore[dict-item]


def held_ns(
    t_ns: list[int], wanted: list[bool | None], start_ns: int, stop_ns: int, hold_ns: int
) -> tuple[int, int]:
    """Time for which a value was as wanted, and for which it was known: row by row, as a person would add it."""
    part = known = 0
    told = [(t, w) for t, w in zip(t_ns, wanted, strict=True) if w is not None]
    for (t, w), (following, _) in pairwise(told):
        if following - t <= hold_ns:
            step = max(0, min(following, stop_ns) - max(t, start_ns))
            known += step
            part += step * w
    return part, known
