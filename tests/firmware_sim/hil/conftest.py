"""Traces made from the plants without any socket, and cases called as functions."""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest

from drivers.profile import Profile
from drivers.row import Quality, Row
from firmware_sim.bench import Bench
from firmware_sim.encode import Value
from firmware_sim.hil.limits import Limits
from firmware_sim.hil.trace import Trace
from firmware_sim.hil.verdict import CaseFailed, Check, NotEvaluated
from firmware_sim.scenario import load_scenario

NS = 1_000_000_000
EPOCH_NS = 1_791_956_400_000_000_000
Case = Callable[[Trace, Check], None]


def row_of(profile: Profile, values: Mapping[str, Value], t_ns: int, scan: str) -> Row:
    """What a driver would make of a plant's values, range check included."""
    numbers = np.full(len(profile.points), np.nan)
    quality = np.full(len(profile.points), int(Quality.NOT_SCANNED), np.uint8)
    text = {}
    for i, point in enumerate(profile.points):
        if point.scan != scan:
            continue
        value = values.get(point.name)
        quality[i] = Quality.UNKNOWN if value is None else Quality.GOOD
        if isinstance(value, str):
            text[i] = value
        elif value is not None:
            numbers[i] = float(value)
            if point.range and not point.range[0] <= float(value) <= point.range[1]:
                numbers[i], quality[i] = np.nan, Quality.OUT_OF_RANGE
    return Row(t_ns, numbers, quality, text, scan)


def record(profile: Profile, values: Callable[[int], Mapping[str, Value]], seconds: int, step_s: int = 2) -> Trace:
    """A watch of a plant."""
    trace = Trace(profile)
    for second in range(0, seconds, step_s):
        now = values(second * NS)
        for scan in profile.scans:
            trace.add(row_of(profile, now, EPOCH_NS + second * NS, scan))
        trace.round_trip_s.append(0.002)
        live = trace.rows["live"][-1]
        if second % 600 == 0:
            trace.pairs.append((live, row_of(profile, now, EPOCH_NS + second * NS + 2_000_000, "live")))
    return trace


@cache
def _recorded(kind: str) -> Trace:
    bench = Bench(load_scenario("demo-port"))
    device = next(d for d in bench.devices.values() if d.profile.kind == kind)
    return record(device.profile, device.values, {"lock": 5400, "charger": 5400}.get(kind, 3600))


@pytest.fixture
def recorded() -> Callable[[str], Trace]:
    """A copy of a kind's watch, free to be changed."""

    def copy(kind: str) -> Trace:
        whole = _recorded(kind)
        trace = Trace(whole.profile, round_trip_s=list(whole.round_trip_s), pairs=list(whole.pairs))
        for rows in whole.rows.values():
            for row in rows:
                trace.add(Row(row.t_ns, row.values.copy(), row.quality.copy(), dict(row.text), row.scan))
        return trace

    return copy


@pytest.fixture
def judge() -> Callable[..., tuple[str, str]]:
    """Outcome of a case on a trace, and the key of its last finding."""

    def judged(case: Case, trace: Trace, **limits: float) -> tuple[str, str]:
        changes = [f"{name}={value}" for name, value in limits.items()]
        check = Check(trace.profile, Limits.with_changes(changes))
        check.knows = trace.knows
        try:
            case(trace, check)
        except CaseFailed:
            return "failed", check.findings[-1].key
        except NotEvaluated:
            return "not_evaluated", check.findings[-1].key
        return "passed", check.findings[-1].key

    return judged


@pytest.fixture
def change() -> Callable[..., None]:
    """Put values into a trace: `change(trace, "power_w", lambda t_s, old: new)`, NaN for unknown."""

    def put(trace: Trace, name: str, new: Callable[[float, float], float]) -> None:
        i = trace.profile.index[name]
        scan = trace.profile.points[i].scan
        first_ns = trace.rows[scan][0].t_ns
        rows = trace.rows[scan]
        trace.rows[scan] = []
        for row in rows:
            row.values[i] = new((row.t_ns - first_ns) / NS, float(row.values[i]))
            if np.isnan(row.values[i]):
                row.quality[i] = Quality.UNKNOWN
            trace.add(row)

    return put


@pytest.fixture
def make_record() -> Callable[..., Trace]:
    return record
