"""What is asked of every device: it is the one meant, all of it can be read, and it lives."""

import numpy as np

from drivers.plan import plan
from drivers.profile import Point
from drivers.row import Quality
from firmware_sim.hil.cases import case
from firmware_sim.hil.name_plate import PlateError, PlateRefusedError, read_plate
from firmware_sim.hil.plc import Plc
from firmware_sim.hil.trace import Series, Trace, changes
from firmware_sim.hil.verdict import Check, clock_time

COUNTERS = ("_total_wh", "_total_varh", "cycle_total")
STEADY_UNITS = ("_word", "state", "mode", "contactor", "mated", "estop")
HEARTBEATS = ("heartbeat", "centre_heartbeat")


@case("COM-01")
def test_the_device_answers_at_its_address(trace: Trace, plc: Plc, check: Check) -> None:
    asked = (
        sum(len(plan(trace.profile, scan).blocks) for scan in trace.profile.scans)
        if trace.profile.protocol == "modbus"
        else len(trace.profile.scans)
    )
    check.require(trace.scans() > 0, "no_answer", endpoint=plc.endpoint, missed=len(trace.missed))
    share = len(trace.missed) / (len(trace.missed) + trace.scans())
    key = "answers" if not trace.missed else "answers_gaps"
    check.saw(key, endpoint=plc.endpoint, scans=trace.scans(), requests=asked, missed=len(trace.missed))
    check.require(share <= 1.0 - check.limits.good_share, "lost", first=trace.missed[0] if trace.missed else "")


@case("COM-02")
def test_every_point_can_be_read(trace: Trace, check: Check) -> None:
    unread, unknown = [], []
    for point in trace.profile.points:
        series = trace[point.name]
        if (point.type == "string" and trace.texts(point.name)) or series.good.any():
            continue
        if visits(trace) and np.all(series.quality == Quality.UNKNOWN):
            unknown.append(point.name)  # a ship that is not there, or supplied with AC: answered, and unknown
        else:
            unread.append(f"{point.name} ({_reason(series)})")
    check.require(not unread, "unread", n=len(unread), points=", ".join(unread[:6]))
    if len(unknown) == len(trace.profile.points):
        check.not_evaluated("no_visitor", seconds=float(np.ptp(trace[trace.profile.points[0].name].t_s)))
    if unknown:
        check.saw("said_unknown", points=", ".join(unknown))
    check.saw("all_read", n=len(trace.profile.points) - len(unknown), scans=trace.scans())


@case("COM-03")
def test_every_reading_is_good(trace: Trace, check: Check) -> None:
    if visits(trace):
        _something_known(trace, check)
    bad = []
    for point in trace.profile.points:
        series = trace[point.name]
        good = series.good | (series.quality == Quality.UNKNOWN if visits(trace) else False)
        share = float(np.mean(good)) if len(good) else 0.0
        if share < check.limits.good_share:
            bad.append(f"{point.name} {100 * share:.0f} % ({_reason(series)})")
    faults = ", ".join(f"{name} {n}" for name, n in trace.faults.most_common(3))
    check.require(not bad, "not_good", points="; ".join(bad[:5]), n=len(bad), faults=faults or "0")
    check.saw("all_good", scans=trace.scans(), faults=faults or "0")


def _has_meaning(point: Point, value: int) -> bool:
    """A state is one of the codes; a word is made of bits, each of which has one."""
    if not point.name.endswith("_word"):
        return str(value) in point.codes
    known = 0
    for code in point.codes:
        known |= int(code)
    return value & ~known == 0


@case("COM-04")
def test_every_value_is_in_its_range_and_every_state_has_a_meaning(trace: Trace, check: Check) -> None:
    _something_known(trace, check)
    ranged = 0
    for point in trace.profile.points:
        series = trace[point.name]
        out = np.flatnonzero(series.quality == Quality.OUT_OF_RANGE)
        if len(out):
            low, high = point.range or (float("nan"), float("nan"))
            at = clock_time(int(series.t_ns[out[0]]))
            check.fail("out_of_range", point=point.name, n=len(out), low=f"{low:g}", high=f"{high:g}", at=at)
        ranged += point.range is not None
        for value in np.unique(series.known) if point.codes else ():
            check.require(
                _has_meaning(point, int(value)), "no_meaning", point=point.name, value=int(value),
                codes=", ".join(point.codes),
            )  # fmt: skip
    check.saw("in_range", n=ranged, coded=sum(bool(p.codes) for p in trace.profile.points))


@case("COM-05")
def test_the_heartbeat_moves(trace: Trace, check: Check) -> None:
    found = [name for name in HEARTBEATS if trace.has(name)]
    if not found:
        check.not_evaluated("no_points", points="heartbeat")
    for name in found:
        series = trace[name]
        if not len(series.known):
            check.not_evaluated("unknown_all_along", points=name)
        span_s = float(np.ptp(series.t_s))
        if span_s < 2 * check.limits.heartbeat_s:
            check.not_evaluated("short_watch", seconds=span_s, needed=2 * check.limits.heartbeat_s)
        stood_s, first, last = _longest_stand(series)
        if stood_s > check.limits.heartbeat_s and visits(trace) and not alive(trace, first, last):
            absent_s = stood_s
            stood_s, first = _stand_whilealive(trace, series)
            check.saw("heartbeat_absent", point=name, seconds=absent_s)
            if not changes(series.value):
                check.not_evaluated("no_visitor", seconds=span_s)
        check.require(
            stood_s <= check.limits.heartbeat_s, "heartbeat_stood", point=name, seconds=stood_s,
            at=clock_time(int(series.t_ns[first])), limit=check.limits.heartbeat_s,
        )  # fmt: skip
        # Backwards is a restart or a clock that jumped, unless it wraps at a power of two (or 100, 1000, …).
        back = [c for c in changes(series.value) if c[2] < c[1] and c[2] > 0.1 * c[1]]
        if back:
            i, before, after = back[0]
            check.fail(
                "heartbeat_back",
                point=name,
                before=int(before),
                after=int(after),
                at=clock_time(int(series.t_ns[i])),
            )
        n = len(changes(series.value))
        check.saw("heartbeat_moves", point=name, n=n, seconds=span_s, longest=stood_s)


@case("COM-06")
def test_two_scans_agree(trace: Trace, check: Check) -> None:
    _something_known(trace, check)
    if len(trace.pairs) < 3:
        check.not_evaluated("few_pairs", n=len(trace.pairs))
    disagree = []
    for i, point in enumerate(trace.profile.points):
        if point.type == "string" or point.scan != "live" or point.name in HEARTBEATS:
            continue
        known = trace[point.name].known
        span = float(np.ptp(known)) if len(known) else 0.0
        apart = [abs(float(a.values[i] - b.values[i])) for a, b in trace.pairs]
        seen = [d for d in apart if np.isfinite(d)]
        # a running device moves a little between two scans; half of all it did in the watch is not a little
        wrong = sum(d > max(0.5 * span, 2.0 * abs(point.scale)) for d in seen)
        if wrong > len(trace.pairs) // 2:
            disagree.append(f"{point.name} (± {max(seen):g})")
    check.require(not disagree, "disagree", points=", ".join(disagree[:5]))
    check.saw("agree", pairs=len(trace.pairs))


@case("COM-07")
def test_no_lone_reading_is_far_off(trace: Trace, check: Check) -> None:
    _something_known(trace, check)
    for point in trace.profile.points:
        if point.codes or point.type in ("bool", "string") or point.name.endswith(("_word", *HEARTBEATS)):
            continue
        series = trace[point.name]
        value = series.value
        if len(value) < 5:
            continue
        before, here, after = value[:-2], value[1:-1], value[2:]
        typical = np.nanpercentile(np.abs(value), 90) if np.isfinite(value).any() else 0.0
        far = np.minimum(np.abs(here - before), np.abs(here - after))
        usual = np.nanpercentile(np.abs(np.diff(value)), 75) if np.isfinite(far).any() else 0.0
        least = max(check.limits.spike_share * max(typical, 1e-9), 10.0 * usual, 10.0 * abs(point.scale))
        lone = (far > least) & (np.abs(after - before) < 0.3 * far)
        spikes = np.flatnonzero(lone)
        if len(spikes):
            k = int(spikes[0])
            check.fail(
                "spike", point=point.name, n=len(spikes), before=float(before[k]), value=float(here[k]),
                after=float(after[k]), at=clock_time(int(series.t_ns[k + 1])),
            )  # fmt: skip
    check.saw("no_spike", scans=trace.scans())


@case("COM-08")
def test_counters_only_rise(trace: Trace, check: Check) -> None:
    names = [p.name for p in trace.profile.points if p.name.endswith(COUNTERS)]
    if not names:
        check.not_evaluated("no_points", points="…_total_wh")
    for name in names:
        series = trace[name]
        for i, before, after in changes(series.value):
            check.require(
                after > before, "counter_back", point=name, before=int(before), after=int(after),
                at=clock_time(int(series.t_ns[i])),
            )  # fmt: skip
    moved = {name: float(np.ptp(trace[name].known)) for name in names if len(trace[name].known)}
    if not moved:
        check.not_evaluated("unknown_all_along", points=", ".join(names))
    check.saw("counters_rise", points=", ".join(f"{name} +{by:.0f}" for name, by in moved.items()))


@case("COM-09")
def test_it_answers_in_time(trace: Trace, check: Check) -> None:
    trips = np.array([t for t in trace.round_trip_s if np.isfinite(t)])
    if len(trips) < 5:
        check.not_evaluated("few_scans", n=len(trips))
    median, late, worst = (1e3 * float(np.percentile(trips, p)) for p in (50, 95, 100))
    key = "slow" if late > 1e3 * check.limits.round_trip_s else "in_time"
    if key == "slow":
        check.fail(key, median=median, late=late, worst=worst)
    check.saw(key, median=median, late=late, worst=worst)


@case("COM-10")
def test_it_shows_its_name_plate(trace: Trace, plc: Plc, check: Check) -> None:
    """A device need not offer it; what it offers has to be whole."""
    if trace.profile.protocol != "modbus":
        check.not_evaluated("plate_of_modbus")
    target = plc.target
    try:
        plate = read_plate(target.host, target.port, target.unit_id, plc.settings.timeout_s)
    except PlateRefusedError as error:
        check.not_evaluated("no_plate", reason=str(error))
    except (PlateError, OSError) as error:
        check.fail("odd_plate", reason=str(error))
    check.saw("plate", vendor=plate.vendor, product=plate.product, revision=plate.revision)


def visits(trace: Trace) -> bool:
    """A ferry's battery comes and goes: absent is neither a fault nor downtime."""
    return trace.profile.kind == "battery"


def _something_known(trace: Trace, check: Check) -> None:
    """Of a device that says "unknown" to everything, nothing good is said."""
    if not any(trace.knows(point.name) for point in trace.profile.points):
        check.not_evaluated("nothing_known", scans=trace.scans())


def _stands(series: Series) -> list[tuple[float, int, int]]:
    """Stretches of scans that showed one value: how long, first and last scan. Gaps between scans do not count."""
    known = np.flatnonzero(np.isfinite(series.value))
    moved = np.flatnonzero(np.diff(series.value[known]) != 0)
    first = known[np.concatenate([[0], moved + 1])].tolist()
    last = known[np.concatenate([moved, [len(known) - 1]])].tolist()
    return [(float(series.t_s[b] - series.t_s[a]), a, b) for a, b in zip(first, last, strict=True)]


def _longest_stand(series: Series) -> tuple[float, int, int]:
    return max(_stands(series))


def _stand_whilealive(trace: Trace, series: Series) -> tuple[float, int]:
    """The longest stretch in which the heartbeat stood and the rest did not, and its first scan."""
    return max(((s, a) for s, a, b in _stands(series) if alive(trace, a, b)), default=(0.0, 0))


def alive(trace: Trace, first: int, last: int) -> bool:
    """Whether other values moved meanwhile: then it is no copy of a ship that has left."""
    names = [
        p.name
        for p in trace.profile.points
        if p.scan == "live" and p.name not in HEARTBEATS and p.type != "string"
    ]
    return any(len(changes(trace[name].value[first + 1 : last + 1])) > 1 for name in names)


def _reason(series: Series) -> str:
    """The most frequent reason why a point is not good."""
    bad = series.quality[~series.good]
    if not len(bad):
        return "no scan"
    return Quality(int(np.bincount(bad).argmax())).name.lower().replace("_", " ")
