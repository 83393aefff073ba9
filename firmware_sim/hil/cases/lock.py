"""A lock with two heads: what its signals say must fit together, in every scan (domain.md D.4).

All live signals of a scan belong to one instant when they come from one request; a condition must hold in two
scans that follow each other, so that a change caught half-way is no finding.
"""

import numpy as np

from firmware_sim.hil.cases import case
from firmware_sim.hil.trace import Floats, Mask, Trace, changes, lasting, runs, slope
from firmware_sim.hil.verdict import Check, clock_time

SIDES = ("up", "down")
OTHER = {"up": "down", "down": "up"}
REACH = {"up": "level_upstream_m", "down": "level_downstream_m"}
SHUT, WIDE = 0.02, 0.98  # of a position
STILL_S, STILL_M = 20.0, 0.02
LEVELS = (*REACH.values(), "level_chamber_m")
GATES = tuple(f"gate_{side}_state" for side in SIDES)
SLUICES = tuple(f"sluice_{side}_state" for side in SIDES)
MIDDLE = "gate_mid_state"
GENERIC = "bollard generic lock PLC"  # the one profile whose interlock bits are documented


def _is(trace: Trace, name: str, meaning: str, check: Check) -> Mask:
    """In which scans a state point says so."""
    code = trace.code(name, meaning)
    if code is None:
        check.not_evaluated("no_code", point=name, meaning=meaning)
    return np.asarray(trace[name].value == code)


def _known(trace: Trace, name: str) -> Mask:
    return np.isfinite(trace[name].value)


def _not_closed(trace: Trace, kind: str, side: str, check: Check) -> Mask:
    name = f"{kind}_{side}_state"
    return _known(trace, name) & ~_is(trace, name, "CLOSED", check)


def _closed_by_middle(trace: Trace, check: Check) -> Mask:
    """Where a closed intermediate gate ends the chamber above the lower gate. Nowhere, if there is none."""
    if not trace.has(MIDDLE):
        return np.zeros(trace.scans(), bool)
    return _is(trace, MIDDLE, "CLOSED", check)


def _head_open(trace: Trace, side: str, check: Check) -> Mask:
    """Whether a head does not hold the water: below, an intermediate gate may do it as well as the lower one."""
    opened = _not_closed(trace, "gate", side, check)
    return opened & ~_closed_by_middle(trace, check) if side == "down" else opened


def _moving(trace: Trace, kind: str, side: str, check: Check) -> Mask:
    name = f"{kind}_{side}_state"
    return _is(trace, name, "OPENING", check) | _is(trace, name, "CLOSING", check)


def _head_m(trace: Trace, side: str) -> Floats:
    return np.asarray(np.abs(trace[REACH[side]].value - trace["level_chamber_m"].value))


def _never(check: Check, trace: Trace, mask: Mask, key: str, **params: float | str) -> None:
    """The incoherence must not last two scans."""
    found = lasting(mask)
    if found is None:
        return
    series = trace["level_chamber_m"] if trace.has("level_chamber_m") else trace[trace.profile.points[0].name]
    first, last = found
    seconds = float(series.t_s[last] - series.t_s[first])
    check.fail(key, at=clock_time(int(series.t_ns[first])), seconds=seconds, **params)


def _moved(trace: Trace, check: Check) -> None:
    """While all stands still, that nothing went wrong says little."""
    if not trace.has(*GATES, *SLUICES):
        return
    if not any(_moving(trace, kind, side, check).any() for kind in ("gate", "sluice") for side in SIDES):
        seconds = float(np.ptp(trace[GATES[0]].t_s)) if trace.scans() else 0.0
        check.not_evaluated("no_movement", seconds=seconds)


@case("LCK-01")
def test_levels_are_metres_above_one_datum(trace: Trace, check: Check) -> None:
    check.needs(*LEVELS)
    up, down = (trace[REACH[side]].known for side in SIDES)
    check.require(len(up) > 0 and len(down) > 0, "levels_unknown")
    fall = float(np.median(up) - np.median(down))
    check.require(
        0.1 <= fall <= 30.0, "fall_wrong", fall=fall, up=float(np.median(up)), down=float(np.median(down))
    )
    check.saw("fall", fall=fall, up=float(np.median(up)), down=float(np.median(down)))


@case("LCK-02")
def test_the_chamber_lies_between_its_reaches(trace: Trace, check: Check) -> None:
    check.needs(*LEVELS)
    chamber = trace["level_chamber_m"]
    above = chamber.value - np.maximum(trace[REACH["up"]].value, trace[REACH["down"]].value)
    below = np.minimum(trace[REACH["up"]].value, trace[REACH["down"]].value) - chamber.value
    out = np.fmax(above, below)
    found = lasting(out > check.limits.level_m)
    if found is not None:
        check.fail("chamber_outside", by=float(np.nanmax(out)), at=clock_time(int(chamber.t_ns[found[0]])))
    check.saw("chamber_inside", low=float(np.min(chamber.known)), high=float(np.max(chamber.known)))


@case("LCK-03")
def test_state_and_position_of_each_drive_agree(trace: Trace, check: Check) -> None:
    compared = []
    for name in [f"{kind}_{side}" for kind in ("gate", "sluice") for side in SIDES]:
        if not trace.has(f"{name}_state", f"{name}_position"):
            continue
        check.needs(f"{name}_state", f"{name}_position")
        compared.append(name)
        state, position = trace[f"{name}_state"], trace[f"{name}_position"].value
        for meaning, wrong in (("CLOSED", position > SHUT), ("OPEN", position < WIDE)):
            found = lasting(_is(trace, f"{name}_state", meaning, check) & wrong)
            if found is not None:
                at, shown = clock_time(int(state.t_ns[found[0]])), float(position[found[0]])
                check.fail("state_position", drive=name, state=meaning, position=shown, at=at)
        step = np.concatenate([[0.0], np.diff(position)])
        for meaning, sign in (("OPENING", -1.0), ("CLOSING", 1.0)):
            still = _is(trace, f"{name}_state", meaning, check)
            found = lasting(still & np.roll(still, 1) & (sign * step > 0.01))
            if found is not None:
                check.fail("moves_wrong_way", drive=name, state=meaning, at=clock_time(int(state.t_ns[found[0]])))
    if not compared:
        check.not_evaluated("no_points", points="gate_…_state + gate_…_position")
    check.saw("drives_agree", drives=", ".join(compared), scans=trace.scans())


@case("LCK-04")
def test_a_gate_takes_a_plausible_time(trace: Trace, check: Check) -> None:
    check.needs(*GATES)
    times: list[str] = []
    for side in SIDES:
        series = trace[f"gate_{side}_state"]
        for meaning, start, end in (("OPENING", "CLOSED", "OPEN"), ("CLOSING", "OPEN", "CLOSED")):
            going = _is(trace, series.name, meaning, check)
            before, after = _is(trace, series.name, start, check), _is(trace, series.name, end, check)
            for first, last in runs(going):
                if first == 0 or last + 1 >= len(going) or not (before[first - 1] and after[last + 1]):
                    continue  # the watch began or ended on the way, or it stopped
                took_s = float(series.t_s[last + 1] - series.t_s[first])
                check.require(
                    check.limits.drive_low_s <= took_s <= check.limits.drive_high_s, "drive_time",
                    gate=side, seconds=took_s, at=clock_time(int(series.t_ns[first])),
                )  # fmt: skip
                times.append(f"{side} {meaning.lower()} {took_s:.0f} s")
    if not times:
        check.not_evaluated("no_full_way", seconds=float(np.ptp(trace[GATES[0]].t_s)))
    check.saw("drive_times", times=", ".join(times[:6]))


@case("LCK-05")
def test_the_two_gates_are_never_open_together(trace: Trace, check: Check) -> None:
    check.needs(*GATES)
    both = _head_open(trace, "up", check) & _head_open(trace, "down", check)
    _never(check, trace, both, "both_gates")
    _moved(trace, check)
    check.saw("never", scans=trace.scans())


@case("LCK-06")
def test_no_sluice_is_open_while_the_opposite_gate_is_not_closed(trace: Trace, check: Check) -> None:
    check.needs(*GATES, *SLUICES)
    for side in SIDES:
        bad = _not_closed(trace, "sluice", side, check) & _head_open(trace, OTHER[side], check)
        if side == "down":
            bad &= ~_closed_by_middle(trace, check)  # below a closed intermediate gate it is not this chamber
        _never(check, trace, bad, "opposite_sluice", sluice=side, gate=OTHER[side])
    _moved(trace, check)
    check.saw("never", scans=trace.scans())


@case("LCK-07")
def test_no_sluice_is_open_while_the_gate_of_its_head_moves(trace: Trace, check: Check) -> None:
    check.needs(*GATES, *SLUICES)
    for side in SIDES:
        bad = _not_closed(trace, "sluice", side, check) & _moving(trace, "gate", side, check)
        _never(check, trace, bad, "same_sluice", head=side)
    _moved(trace, check)
    check.saw("never", scans=trace.scans())


@case("LCK-08")
def test_the_sluices_of_both_heads_are_never_open_together(trace: Trace, check: Check) -> None:
    check.needs(*SLUICES)
    both = _not_closed(trace, "sluice", "up", check) & _not_closed(trace, "sluice", "down", check)
    both &= ~_closed_by_middle(trace, check)
    _never(check, trace, both, "both_sluices")
    _moved(trace, check)
    check.saw("never", scans=trace.scans())


@case("LCK-09")
def test_no_gate_opens_under_a_difference_of_level(trace: Trace, check: Check) -> None:
    check.needs(*GATES, *LEVELS)
    seen = []
    for side in SIDES:
        opening = _is(trace, f"gate_{side}_state", "OPENING", check)
        if side == "down":
            opening &= ~_closed_by_middle(trace, check)
        head_m = _head_m(trace, side)
        if not opening.any():
            continue
        worst = float(np.nanmax(np.where(opening, head_m, 0.0)))
        _never(check, trace, opening & (head_m > check.limits.head_m), "opens_under_head", gate=side, head=worst)
        seen.append(worst)
    if not seen:
        check.not_evaluated("no_opening", seconds=float(np.ptp(trace[GATES[0]].t_s)))
    check.saw("opens_level", worst=max(seen), limit=check.limits.head_m)


@case("LCK-10")
def test_no_light_is_green_at_a_gate_that_is_not_open(trace: Trace, check: Check) -> None:
    check.needs(*GATES)
    lights = _lights(trace)
    if not lights:
        check.not_evaluated("no_points", points="light_…")
    greens = 0
    for name in lights:
        side = name.split("_")[1]
        green = _is(trace, name, "GREEN", check)
        greens += len(list(runs(green)))
        state = trace[f"gate_{side}_state"]
        bad = green & ~_is(trace, state.name, "OPEN", check) & np.isfinite(state.value)
        found = lasting(bad)
        shown = "" if found is None else _meaning(trace, state.name, float(state.value[found[0]]))
        _never(check, trace, bad, "green_closed", light=name, gate=side, state=shown)
    if not greens:
        check.not_evaluated("no_green", seconds=float(np.ptp(trace[GATES[0]].t_s)))
    check.saw("green_open", n=greens, lights=len(lights))


@case("LCK-11")
def test_the_level_stands_when_all_is_closed(trace: Trace, check: Check) -> None:
    check.needs(*GATES, *SLUICES, "level_chamber_m")
    closed = np.ones(trace.scans(), bool)
    for kind in ("gate", "sluice"):
        for side in SIDES:
            closed &= _is(trace, f"{kind}_{side}_state", "CLOSED", check)
    level = trace["level_chamber_m"]
    stretches, steepest = 0, 0.0
    for first, last in runs(closed):
        part = slice(first, last + 1)
        if level.t_s[last] - level.t_s[first] < STILL_S:
            continue
        stretches += 1
        per_min = 60.0 * slope(level.t_s[part], level.value[part])
        moved_m = abs(per_min) / 60.0 * float(level.t_s[last] - level.t_s[first])
        steepest = max(steepest, abs(per_min))
        # the noise of the gauge on a short stretch must not pass for a leak
        if abs(per_min) > check.limits.leak_m_per_min and moved_m > STILL_M:
            check.fail(
                "moves_closed", per_min=per_min, moved=moved_m, at=clock_time(int(level.t_ns[first])),
                seconds=float(level.t_s[last] - level.t_s[first]),
            )  # fmt: skip
    if not stretches:
        check.not_evaluated("never_all_closed", seconds=STILL_S)
    check.saw("still_closed", n=stretches, steepest=steepest)


@case("LCK-12")
def test_the_level_moves_when_a_sluice_is_open_under_head(trace: Trace, check: Check) -> None:
    check.needs(*SLUICES, *LEVELS)
    level, filled = trace["level_chamber_m"], 0
    for side in SIDES:
        wide = _is(trace, f"sluice_{side}_state", "OPEN", check)
        if trace.has(f"sluice_{side}_position"):
            wide |= trace[f"sluice_{side}_position"].value > 0.3
        for first, last in runs(wide & (_head_m(trace, side) > 0.3)):
            seconds = float(level.t_s[last] - level.t_s[first])
            if seconds < STILL_S:
                continue
            filled += 1
            moved_m = float(np.nanmax(level.value[first : last + 1]) - np.nanmin(level.value[first : last + 1]))
            check.require(
                moved_m > STILL_M, "still_open", sluice=side, seconds=seconds, moved=moved_m,
                head=float(np.nanmin(_head_m(trace, side)[first : last + 1])),
                at=clock_time(int(level.t_ns[first])),
            )  # fmt: skip
    if not filled:
        check.not_evaluated("no_filling", seconds=float(np.ptp(level.t_s)))
    check.saw("moves_open", n=filled)


@case("LCK-13")
def test_the_mode_stays_during_a_lockage(trace: Trace, check: Check) -> None:
    check.needs("mode", *GATES)
    _moved(trace, check)
    # From the moment one gate leaves OPEN until the other is there, no gate is OPEN; before and after it, a
    # green light lets boats in or out. A change at the very scan that begins or ends this belongs to it.
    cycle = np.ones(trace.scans(), bool)
    for name in GATES:
        cycle &= _known(trace, name) & ~_is(trace, name, "OPEN", check)
    for name in _lights(trace):
        cycle |= _is(trace, name, "GREEN", check)
    mode = trace["mode"]
    for i, before, after in changes(mode.value):
        if cycle[i] or cycle[i - 1]:
            check.fail(
                "mode_change", before=_meaning(trace, "mode", before), after=_meaning(trace, "mode", after),
                at=clock_time(int(mode.t_ns[i])),
            )  # fmt: skip
    check.saw(
        "mode_stays",
        n=len(list(runs(cycle))),
        modes=", ".join(_meaning(trace, "mode", v) for v in np.unique(mode.known)),
    )


@case("LCK-14")
def test_a_lockage_goes_in_order(trace: Trace, check: Check) -> None:
    """Gate closed, then the other head's sluices, then level, then sluices closed, then the other gate."""
    check.needs(*GATES, *SLUICES, *LEVELS)
    done = 0
    for side in SIDES:
        opening = _is(trace, f"gate_{side}_state", "OPENING", check)
        for first, _ in runs(opening):
            closings = np.flatnonzero(_is(trace, f"gate_{OTHER[side]}_state", "CLOSING", check)[:first])
            if not len(closings):
                continue  # the watch began too late to see how it came to this
            start = int(closings[-1])
            at = clock_time(int(trace[GATES[0]].t_ns[first]))
            used = _not_closed(trace, "sluice", side, check)[start : first + 1]
            check.require(bool(used.any()), "no_levelling", gate=side, at=at)
            done += 1
    if not done:
        check.not_evaluated("no_lockage", seconds=float(np.ptp(trace[GATES[0]].t_s)))
    check.saw("in_order", n=done)


@case("LCK-15")
def test_the_lockage_counter_counts_lockages(trace: Trace, check: Check) -> None:
    check.needs("cycle_total", *GATES)
    opened = 0
    for side in SIDES:
        going, there = (_is(trace, f"gate_{side}_state", meaning, check) for meaning in ("OPENING", "OPEN"))
        opened += int(np.sum(going[:-1] & there[1:]))
    if not opened:
        check.not_evaluated("no_lockage", seconds=float(np.ptp(trace[GATES[0]].t_s)))
    counted = float(np.ptp(trace["cycle_total"].known))
    # it may count at the exit, so after the last opening that was seen, or before the first
    check.require(abs(counted - opened) <= 1, "miscounted", counted=int(counted), seen=opened)
    check.saw("counted", counted=int(counted), seen=opened)


@case("LCK-16")
def test_the_interlock_word_says_what_the_signals_say(trace: Trace, check: Check) -> None:
    check.needs("interlock_word", *GATES, *LEVELS)
    if trace.profile.model != GENERIC:
        check.not_evaluated("bits_unknown", point="interlock_word", model=trace.profile.model)
    word = trace["interlock_word"]
    bits = np.where(np.isfinite(word.value), word.value, 0).astype(np.int64)
    for bit, side in enumerate(SIDES):
        wrong = ((bits >> bit & 1) == 1) != _not_closed(trace, "gate", side, check)
        _never(check, trace, wrong, "interlock_gate", bit=bit, gate=side)
        head_m = _head_m(trace, side)
        shown = (bits >> (bit + 2) & 1) == 1
        _never(
            check,
            trace,
            (~shown & (head_m > 0.1)) | (shown & (head_m < 0.02)),
            "interlock_head",
            bit=bit + 2,
            head=side,
        )
    check.saw("interlock_fits", scans=trace.scans())


@case("LCK-17")
def test_no_alarm_stands_during_the_watch(trace: Trace, check: Check) -> None:
    wanted = {"estop": 0, "alarm_word": 0, "takeover_request": 0, "mains": 1, "centre_link": 1, "ups": 0}
    found = [name for name in wanted if trace.has(name)]
    if not found:
        check.not_evaluated("no_points", points=", ".join(wanted))
    check.needs(*found)
    for name in found:
        series = trace[name]
        odd = np.flatnonzero(np.isfinite(series.value) & (series.value != wanted[name]))
        if len(odd):
            at = clock_time(int(series.t_ns[odd[0]]))
            check.fail("alarm", point=name, value=int(series.value[odd[0]]), wanted=wanted[name], at=at)
    check.saw("no_alarm", points=", ".join(found))


def _lights(trace: Trace) -> list[str]:
    names = [f"light_{side}_{way}" for side in SIDES for way in ("in", "out")]
    return [name for name in names if trace.has(name)]


def _meaning(trace: Trace, name: str, value: float) -> str:
    code = str(int(value)) if np.isfinite(value) else "?"
    return trace.profile.points[trace.profile.index[name]].codes.get(code, code)
