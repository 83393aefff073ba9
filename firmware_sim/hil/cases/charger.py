"""A charging tower: its state machine (domain.md A.3), its power, its counts."""

from collections import deque
from itertools import pairwise

import numpy as np

from firmware_sim.hil.cases import case
from firmware_sim.hil.trace import Mask, Trace, changes, integral, lasting, runs
from firmware_sim.hil.verdict import Check, clock_time

NEXT = {  # what may follow; ESTOP and FAULT may follow anything
    "IDLE": ("APPROACH",),
    "APPROACH": ("DOCKED", "IDLE"),
    "DOCKED": ("CONNECTING", "IDLE"),
    "CONNECTING": ("HANDSHAKE", "DISCONNECTING"),
    "HANDSHAKE": ("PRECHARGE", "DISCONNECTING", "PAUSED"),
    "PRECHARGE": ("RAMP_UP", "RAMP_DOWN", "DISCONNECTING", "PAUSED"),
    "RAMP_UP": ("CC", "CV", "RAMP_DOWN", "PAUSED"),
    "CC": ("CV", "RAMP_DOWN", "PAUSED", "RAMP_UP"),
    "CV": ("RAMP_DOWN", "PAUSED", "CC"),
    "RAMP_DOWN": ("DISCONNECTING", "PAUSED"),
    "DISCONNECTING": ("COMPLETED",),
    "COMPLETED": ("IDLE", "APPROACH", "DOCKED", "CONNECTING"),
    "PAUSED": ("PRECHARGE", "RAMP_UP", "CC", "CV", "RAMP_DOWN", "DISCONNECTING"),
    "ESTOP": ("IDLE", "DOCKED", "DISCONNECTING", "COMPLETED", "FAULT"),
    "FAULT": ("IDLE", "DOCKED", "DISCONNECTING", "COMPLETED", "ESTOP"),
}
SHORTEST_S = 2.0  # what a step takes at least, for those that a slow watch may jump over
POWERED = ("PRECHARGE", "RAMP_UP", "CC", "CV", "RAMP_DOWN", "PAUSED")
UNPLUGGED = ("IDLE", "APPROACH", "DOCKED", "COMPLETED")
PLUGGED = ("HANDSHAKE", "PRECHARGE", "RAMP_UP", "CC", "CV", "RAMP_DOWN", "PAUSED")
LITTLE = 0.01  # of the tower's limit, or of its largest power: as good as none


def _in(trace: Trace, states: tuple[str, ...]) -> Mask:
    codes = [code for code in (trace.code("state", name) for name in states) if code is not None]
    return np.isin(trace["state"].value, codes)


def _little_w(trace: Trace) -> float:
    limit = trace["limit_w"].known if trace.has("limit_w") else np.empty(0)
    return LITTLE * float(np.max(limit) if len(limit) else np.nanmax(np.abs(trace["power_w"].value)))


def _name(trace: Trace, value: float) -> str:
    return trace.profile.points[trace.profile.index["state"]].codes.get(str(int(value)), str(int(value)))


@case("CHG-01")
def test_states_follow_each_other_in_order(trace: Trace, check: Check) -> None:
    check.needs("state")
    if any(trace.code("state", name) is None for name in ("IDLE", "CC", "FAULT")):
        check.not_evaluated("no_code", point="state", meaning="IDLE, CC, FAULT")
    state = trace["state"]
    found = changes(state.value)
    for i, before, after in found:
        first, then = _name(trace, before), _name(trace, after)
        skipped = int((state.t_s[i] - state.t_s[i - 1]) / SHORTEST_S)
        check.require(
            _reachable(first, then, skipped), "state_order", before=first, after=then,
            at=clock_time(int(state.t_ns[i])),
            allowed=", ".join((*NEXT.get(first, ()), "ESTOP", "FAULT")),
        )  # fmt: skip
    if not found:
        shown = _name(trace, float(state.known[0])) if len(state.known) else "?"
        check.not_evaluated("no_state_change", state=shown, seconds=float(np.ptp(state.t_s)))
    path = [_name(trace, found[0][1]), *(_name(trace, after) for _, _, after in found)]
    check.saw("states", n=len(found), path=" → ".join(path[:14]))


@case("CHG-02")
def test_power_flows_only_in_the_states_of_charging(trace: Trace, check: Check) -> None:
    check.needs("state", "power_w")
    power = trace["power_w"]
    flows = np.abs(power.value) > _little_w(trace)
    found = lasting(flows & np.isfinite(trace["state"].value) & ~_in(trace, POWERED))
    if found is not None:
        i = found[0]
        state = _name(trace, float(trace["state"].value[i]))
        check.fail("power_in_state", power=float(power.value[i]), state=state, at=clock_time(int(power.t_ns[i])))
    if not flows.any():
        check.not_evaluated("no_power", seconds=float(np.ptp(power.t_s)))
    check.saw("power_only_charging", peak=float(np.nanmax(power.value)) / 1e6)


@case("CHG-03")
def test_the_plug_is_in_while_charging_and_out_while_not(trace: Trace, check: Check) -> None:
    check.needs("state", "mated")
    mated = trace["mated"]
    for states, wanted in ((PLUGGED, 1), (UNPLUGGED, 0)):
        found = lasting(_in(trace, states) & (mated.value == 1 - wanted))
        if found is not None:
            i = found[0]
            state = _name(trace, float(trace["state"].value[i]))
            check.fail("mated_in_state", mated=int(mated.value[i]), state=state, at=clock_time(int(mated.t_ns[i])))
    check.saw("mated_fits", n=len(changes(mated.value)))


@case("CHG-04")
def test_power_is_voltage_times_current(trace: Trace, check: Check) -> None:
    check.needs("power_w", "voltage_v", "current_a")
    power, voltage, current = (trace[name].value for name in ("power_w", "voltage_v", "current_a"))
    alternating = trace.has("frequency_hz", "power_factor")
    factor = np.sqrt(3.0) * trace["power_factor"].value if alternating else 1.0
    flows = np.abs(power) > 5 * _little_w(trace)
    if flows.sum() < 5:
        check.not_evaluated("no_power", seconds=float(np.ptp(trace["power_w"].t_s)))
    off = np.abs(voltage * current * factor / np.where(flows, power, 1.0) - 1.0)
    median = float(np.nanmedian(off[flows]))
    phases = float(np.nanmedian(power[flows] / (voltage[flows] * current[flows])))
    if not alternating and np.sqrt(3.0) * 0.8 <= abs(phases) <= np.sqrt(3.0) * (1.0 + check.limits.power_share):
        # the profile does not tell AC from DC, and has no power factor to compare with
        spread = float(np.nanstd(power[flows] / (voltage[flows] * current[flows]))) / abs(phases)
        check.require(phases > 0, "power_sign", share=0.0)
        check.require(spread <= check.limits.power_share, "power_product", off=100 * spread)
        check.saw("power_three_phase", factor=abs(phases) / float(np.sqrt(3.0)))
        return
    sign = float(np.nanmean(np.sign(voltage[flows] * current[flows]) == np.sign(power[flows])))
    check.require(sign > 0.99, "power_sign", share=100 * sign)
    check.require(median <= check.limits.power_share, "power_product", off=100 * median)
    check.saw("power_fits", off=100 * median, n=int(flows.sum()))


@case("CHG-05")
def test_power_keeps_its_limits(trace: Trace, check: Check) -> None:
    check.needs("power_w")
    known = [name for name in ("limit_w", "setpoint_w") if trace.has(name)]
    if not known:
        check.not_evaluated("no_points", points="limit_w, setpoint_w")
    power = trace["power_w"]
    for name in known:
        bound = trace[name].value
        over = power.value - bound * 1.05
        mask = (over > 0) & (bound > 0) if name == "setpoint_w" else over > 0
        found = lasting(mask, 3)  # a step of the setpoint takes a moment to be followed
        if found is not None:
            i = found[0]
            check.fail(
                "over_limit", power=float(power.value[i]) / 1e6, bound=float(bound[i]) / 1e6, point=name,
                at=clock_time(int(power.t_ns[i])),
            )  # fmt: skip
    if trace.has("limit_w", "setpoint_w"):
        found = lasting(trace["setpoint_w"].value > trace["limit_w"].value * 1.001)
        check.require(found is None, "setpoint_over", at=clock_time(int(power.t_ns[found[0] if found else 0])))
    check.saw("within_limits", points=", ".join(known), peak=float(np.nanmax(power.value)) / 1e6)


@case("CHG-06")
def test_power_rises_no_faster_than_agreed(trace: Trace, check: Check) -> None:
    check.needs("power_w")
    if check.limits.ramp_w_per_s <= 0.0:
        check.not_evaluated("no_ramp_given")
    power = trace["power_w"]
    step_s = np.maximum(np.diff(power.t_s), 1e-6)
    ramp = np.abs(np.diff(power.value)) / step_s
    worst = int(np.nanargmax(ramp)) if np.isfinite(ramp).any() else 0
    check.require(
        not float(np.nanmax(ramp, initial=0.0)) > 1.02 * check.limits.ramp_w_per_s, "too_steep",
        ramp=float(ramp[worst]) / 1e3, at=clock_time(int(power.t_ns[worst])),
    )  # fmt: skip
    check.saw("ramp_kept", ramp=float(ramp[worst]) / 1e3)


@case("CHG-07")
def test_the_session_energy_is_the_integral_of_power(trace: Trace, check: Check) -> None:
    check.needs("power_w", "session_energy_wh")
    power, session = trace["power_w"], trace["session_energy_wh"]
    resets = [0, *(i for i, before, after in changes(session.value) if after < before), len(session.value)]
    most = (0.0, 0.0, 0.0)
    for first, last in pairwise(resets):
        part = slice(first, last)
        counted = float(np.ptp(session.value[part][np.isfinite(session.value[part])])) if last - first > 2 else 0.0
        if counted > most[0]:
            energy_ws, covered_s = integral(power.t_s[part], power.value[part])
            most = (counted, energy_ws / 3600.0, covered_s)
    counted, integrated, covered_s = most
    least = _least_wh(trace, "session_energy_wh", check)
    if counted < least:
        check.not_evaluated("little_energy", energy=counted / 1e3, needed=least / 1e3)
    off = integrated / counted - 1.0
    params = {
        "counted": counted / 1e3,
        "integrated": integrated / 1e3,
        "off": 100 * off,
        "minutes": covered_s / 60,
    }
    check.require(abs(off) <= check.limits.energy_share, "energy_differs", **params)
    check.saw("energy_agrees", **params)


@case("CHG-08")
def test_the_total_counts_what_the_session_counts(trace: Trace, check: Check) -> None:
    check.needs("energy_total_wh", "session_energy_wh")
    session = trace["session_energy_wh"]
    counted = sum(after - before for _, before, after in changes(session.value) if after > before)
    least = _least_wh(trace, "energy_total_wh", check)
    if counted < least:
        check.not_evaluated("little_energy", energy=counted / 1e3, needed=least / 1e3)
    total = trace["energy_total_wh"]
    gained = float(np.ptp(total.known))
    # the total is read less often: what flows between its last scan and the session's is not in it
    edge = (
        2
        * float(np.max(np.diff(total.t_s), initial=0.0))
        * float(np.nanmax(np.abs(trace["power_w"].value)))
        / 3600
        if trace.has("power_w")
        else 0.0
    )
    params = {"total": gained / 1e3, "session": counted / 1e3}
    check.require(abs(gained - counted) <= check.limits.energy_share * counted + edge, "total_differs", **params)
    check.saw("total_agrees", **params)


@case("CHG-09")
def test_the_ship_is_named_while_it_is_plugged_in(trace: Trace, check: Check) -> None:
    check.needs("vessel", "mated")
    if not np.any(trace["mated"].value == 1):
        check.not_evaluated("never_mated", seconds=float(np.ptp(trace["mated"].t_s)))
    names = [text for text in trace.texts("vessel") if text.strip()]
    check.require(bool(names), "no_name")
    odd = [name for name in names if not name.isprintable()]
    check.require(not odd, "odd_name", name=repr(odd[0]) if odd else "")
    check.saw("named", names=", ".join(names))


@case("CHG-10")
def test_a_fault_shows_in_the_alarm_word_and_only_then(trace: Trace, check: Check) -> None:
    check.needs("state", "alarm_word")
    alarm = trace["alarm_word"]
    stopped = _in(trace, ("ESTOP", "FAULT"))
    silent = lasting(stopped & (alarm.value == 0), 3)
    if silent is not None:
        state = _name(trace, float(trace["state"].value[silent[0]]))
        check.fail("silent_fault", state=state, at=clock_time(int(alarm.t_ns[silent[0]])))
    powered = lasting(_in(trace, ("CC", "CV")) & (alarm.value != 0) & np.isfinite(alarm.value), 3)
    if powered is not None:
        check.fail(
            "alarm_charging",
            word=f"0x{int(alarm.value[powered[0]]):04X}",
            at=clock_time(int(alarm.t_ns[powered[0]])),
        )
    check.saw("alarm_fits", n=len(list(runs(stopped))))


def _reachable(first: str, then: str, skipped: int) -> bool:
    """Whether `then` may come after `first`, with at most `skipped` steps in between that were not seen."""
    if then in ("ESTOP", "FAULT") or first not in NEXT:
        return True
    todo, seen = deque([(first, 0)]), {first}
    while todo:
        state, steps = todo.popleft()
        for following in NEXT[state]:
            if following == then:
                return True
            if steps < skipped and following not in seen:
                seen.add(following)
                todo.append((following, steps + 1))
    return False


def _least_wh(trace: Trace, name: str, check: Check) -> float:
    """Energy from which the register's step is a tenth of what the case tolerates. [Wh]"""
    point = trace.profile.points[trace.profile.index[name]]
    return 10.0 * abs(point.scale) / check.limits.energy_share
