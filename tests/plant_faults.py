"""The simulator's incoherences planted into its locks, and the scans at which each one shows by its words."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import naive_rules
import numpy as np
import plant_locks as pl
from plant_locks import NS, Lock, PlantDay

from dsp import lock_cycle, lock_rules, lock_topology

HEAD_M, MOVING_M, SHUT = 0.10, 0.08, 0.02
RULE_OF = {  # the fault's name -> the rule that tells of it; every rule has one
    "lock-opposite-sluice-open": "sluice_opposite_open",
    "lock-sluice-open-while-gate-closes": "sluice_open_gate_closing",
    "lock-opposite-gates-open": "gates_opposite_open",
    "lock-gate-opens-under-head": "head_at_opening",
    "lock-green-light-gate-closed": "green_gate_not_open",
    "lock-level-moves-all-closed": "level_moves_closed",
    "lock-level-still-sluice-open": "level_still_sluice_open",
    "lock-mode-change-in-cycle": "mode_change_in_lockage",
    "frozen-heartbeat": "heartbeat_frozen",
    "lock-opposite-sluices-open": "sluices_opposite_open",
}
IN_THE_PLANT = tuple(name for name in RULE_OF if name not in (
    "lock-green-light-gate-closed", "lock-mode-change-in-cycle", "frozen-heartbeat",
))  # fmt: skip


def topology_of(lock: Lock) -> tuple[Any, tuple[Any, ...]]:
    """The kernel's record of a simulated lock, and its chambers' areas. Sluices: 0.6 of their opening, surely."""
    size = lock.size
    head = lock_topology.Head(sluice_m2=(0.6 * size.sluice_m2,))
    areas = (size.area_m2,)
    if size.short_m is not None:
        areas = (size.short_m * size.width_m, (size.length_m - size.short_m) * size.width_m)
    sensors = (True, True, False, True) if len(areas) == 2 else None
    heads = (head,) * (len(areas) + 1)
    return lock_topology.pack(lock_topology.Lock(heads, areas, level_sensors=sensors)), areas


def lockages(day: PlantDay, areas_m2: tuple[float, ...]) -> tuple[Any, Any]:
    """`lock_cycle` over a day, an intermediate gate taken as part of the lower head; and the phases."""
    out, phases, one = np.zeros(300, lock_cycle.OUT), np.zeros(len(day.t_ns), np.int8), np.zeros(1, np.int8)
    lower, area_m2 = day.gates[:, -1], np.full(len(day.t_ns), areas_m2[0])
    if len(areas_m2) == 2:
        parted = (day.gates[:, 1] == pl.CLOSED) | (day.gates[:, 2] == pl.CLOSED)
        lower = np.where(parted, pl.CLOSED, np.where(day.gates[:, 1] == pl.OPEN, day.gates[:, 2], day.gates[:, 1]))
        area_m2 = areas_m2[0] + np.where(day.gates[:, 1] == pl.OPEN, areas_m2[1], 0.0)
    gates = np.stack([day.gates[:, 0], lower], axis=1)
    sluices = np.stack([day.sluices[:, 0], day.sluices[:, 1:].max(axis=1)], axis=1)
    if len(areas_m2) == 1:
        n = lock_cycle.run(
            lock_cycle.init(), day.t_ns, gates, sluices, day.levels, day.vessel, areas_m2[0], phases, out
        )  # fmt: skip
        return out[:n], phases
    state, n, area = lock_cycle.init(), 0, areas_m2[0]
    for i in range(len(day.t_ns)):
        if state["phase"][0] in (lock_cycle.CLOSING, lock_cycle.LEVELLING):
            area = float(area_m2[i])
        n += lock_cycle.run(
            state, day.t_ns[i : i + 1], gates[i : i + 1], sluices[i : i + 1], day.levels[i : i + 1],
            day.vessel[i : i + 1], area, one, out[n:],
        )  # fmt: skip
        phases[i] = one[0]
    return out[:n], phases


def in_lockage(day: PlantDay, phases: Any) -> Any:
    """As the edge has it: between entry and exit, or while an entry light is green."""
    entering = (day.lights[:, ::2] == pl.GREEN).any(axis=1)
    during = (phases >= lock_cycle.ENTRY) & (phases <= lock_cycle.EXIT)
    return ((during | np.concatenate([[False], during[:-1]])) | entering).astype(float)


def judge(day: PlantDay, topology: Any, phases: Any) -> Any:
    """The mask of rules that became active at each scan."""
    raised = np.zeros(len(day.t_ns), np.int64)
    levels = day.levels
    if topology["heads"][0] == 3:
        levels = np.stack([levels[:, 0], levels[:, 1], np.full(len(levels), np.nan), levels[:, 2]], axis=1)
    lock_rules.run(
        lock_rules.init(), topology, day.t_ns, day.gates, day.sluices, day.lights, levels, day.mode,
        day.heartbeat, in_lockage(day, phases), raised,
    )  # fmt: skip
    return raised


def plant(lock: Lock, fault: str, from_s: int, until_s: int) -> None:
    lock.board.plan(fault, lock.device, from_s * NS, until_s * NS, {})


def show(day: PlantDay, fault: str, from_s: int, until_s: int) -> None:
    """Faults that are not in the plant but in what its PLC shows."""
    second = (day.t_ns - pl.EPOCH_NS) // NS
    during = (second >= from_s) & (second < until_s)
    if fault == "lock-green-light-gate-closed":
        for h in range(len(day.heads)):
            day.lights[during & (day.gates[:, h] == pl.CLOSED), 2 * h] = pl.GREEN
    elif fault == "lock-mode-change-in-cycle":
        day.mode[during & (day.phase != pl.Phase.IDLE)] = 0.0
    elif fault == "frozen-heartbeat":
        day.heartbeat[during] = day.heartbeat[np.flatnonzero(during)[0]]


def shown(day: PlantDay, topology: Any, phases: Any) -> dict[str, Any]:
    """Scans at which each rule holds, by its words. A middle gate is taken as part of the lower head."""
    green = [
        (day.lights[:, 2 * h : 2 * h + 2] == pl.GREEN).any(axis=1) & (day.gates[:, h] != pl.OPEN)
        for h in range(len(day.heads))
    ]
    through, lockage = _through(day), (in_lockage(day, phases) > 0).tolist()
    area_m2 = np.full(len(day.t_ns), float(topology["chamber_m2"][0][0]))
    if len(day.heads) == 3:
        area_m2 += np.where(day.gates[:, 1] == pl.CLOSED, 0.0, float(topology["chamber_m2"][0][1]))
        day = as_two_heads(day)
    up, down = day.gates[:, 0], day.gates[:, 1]
    over, under = day.sluices[:, 0] > SHUT, day.sluices[:, 1] > SHUT
    reach, chamber = day.levels[:, ::2], day.levels[:, 1]
    closed = (up == pl.CLOSED) & (down == pl.CLOSED) & ~over & ~under
    before = np.concatenate([day.gates[:1], day.gates[:-1]])
    opens = ((before == pl.CLOSED) & (day.gates > pl.CLOSED)) | (day.gates == pl.OPENING)
    settle, half = round(float(topology["settle_s"][0])), round(float(topology["window_s"][0]) / 2)
    changed = np.zeros(len(up), bool)
    changed[naive_rules.mode_changes(day.mode.astype(int).tolist(), lockage)] = True
    seconds = ((day.t_ns - day.t_ns[0]) / NS).tolist()
    return through | {
        "sluice_open_gate_closing": ((up == pl.CLOSING) & over) | ((down == pl.CLOSING) & under),
        "head_at_opening": (opens & (np.abs(reach - chamber[:, None]) > HEAD_M)).any(axis=1),
        "green_gate_not_open": np.any(green, axis=0),
        "level_moves_closed": np.array(
            naive_rules.level_moves_closed(chamber.tolist(), closed.tolist(), settle, half, MOVING_M)
        ),
        "level_still_sluice_open": _still(day, topology, area_m2),
        "mode_change_in_lockage": changed,
        "heartbeat_frozen": np.array(naive_rules.heartbeat_stands(day.heartbeat.tolist(), seconds, 10.0)),
    }


def _through(day: PlantDay) -> dict[str, Any]:
    """Scans at which water can run from reach to reach, by what it runs through. Any number of heads."""
    ajar, flowing = day.gates > 0, day.sluices > SHUT
    runs = (ajar | flowing).all(axis=1)
    pairs = permutations(range(len(day.heads)), 2)
    crosswise = [ajar[:, i] & flowing[:, j] for i, j in pairs]
    return {
        "sluice_opposite_open": runs & np.any(crosswise, axis=0),
        "gates_opposite_open": ajar.all(axis=1),
        "sluices_opposite_open": flowing.all(axis=1) & ~ajar.any(axis=1),
    }


def _still(day: PlantDay, topology: Any, area_m2: Any) -> Any:
    """Since a sluice opened it owes 0.25 m, and less than a fifth of what it owes came."""
    p, found = topology[0], np.zeros(len(day.t_ns), bool)
    both = (day.gates == pl.CLOSED).all(axis=1)
    head = -1
    for i in range(len(day.t_ns)):
        flowing = [h for h in (0, 1) if day.sluices[i, h] > SHUT]
        if not both[i] or len(flowing) != 1:
            head = -1
            continue
        chamber = day.levels[i, 1]
        if head != flowing[0]:
            head, due, start = flowing[0], 0.0, chamber
            continue
        across = [(day.levels[i, 2 * head], chamber)]
        flow = [float(p["sluice_m2"][head] * day.sluices[i, head])]
        due += naive_rules.should_have_come_m(across, flow, float(area_m2[i]), HEAD_M)[0]
        if due >= 0.25:
            found[i] = abs(chamber - start) < 0.2 * due
            if not found[i]:
                due, start = 0.0, chamber
    return found


def as_two_heads(day: PlantDay) -> PlantDay:
    """A lock with a middle gate as one with two heads: the lower one is whichever gate parts the water."""
    middle, lower = day.gates[:, 1], day.gates[:, 2]
    parted = (middle == pl.CLOSED) | (lower == pl.CLOSED)
    one = np.where(parted, pl.CLOSED, np.where(middle == pl.OPEN, lower, middle))
    sluices = np.stack([day.sluices[:, 0], day.sluices[:, 1:].max(axis=1)], axis=1)
    lights = np.concatenate([day.lights[:, :2], np.zeros_like(day.lights[:, :2])], axis=1)
    gates = np.stack([day.gates[:, 0], one], axis=1)
    return replace(day, heads=("up", "down"), gates=gates, sluices=sluices, lights=lights)


def names(mask: int) -> set[str]:
    return {rule for i, rule in enumerate(lock_rules.RULES) if mask >> i & 1}


@dataclass
class Tally:
    """What many days of truthful locks gave."""

    lockages: int = 0
    missed: int = 0
    moments: int = 0  # starts and ends of phases
    moments_true: int = 0  # within one scan
    worst_volume: float = 0.0
    false: int = 0


def compare(lock: Lock, seconds: int, seed: int, tally: Tally) -> None:
    """Run a truthful lock and add what was found of it to the tally."""
    topology, areas_m2 = topology_of(lock)
    day = pl.run(lock, seconds, seed)
    found, phases = lockages(day, areas_m2)
    tally.false += int(np.count_nonzero(judge(day, topology, phases)))
    over = [x for x in day.lockages if "exit" in x.phases and x.end_s is not None]
    over = [x for x in over if pl.left_s(x) + 11 < day.first_s + seconds]  # 10 s until a boat has surely left
    tally.missed += abs(len(over) - len(found[: len(over)])) + max(0, len(found) - len(over) - 1)
    for cycle, true in zip(found, over, strict=False):
        tally.lockages += 1
        right = (int(cycle["direction"]) == (1 if true.direction == "up" else -1)) and (
            int(cycle["vessel_seen"]) == int(true.vessel)
        )
        tally.missed += not right
        tally.worst_volume = max(tally.worst_volume, abs(float(cycle["volume_m3"]) / true.volume_m3 - 1.0))
        t = (int(cycle["start_ns"]) - pl.EPOCH_NS) / NS
        for name in ("entry", "closing", "levelling", "opening", "exit"):
            if name == "entry" and not true.vessel:
                continue
            tally.moments += 1
            tally.moments_true += abs(t - (pl.came_s(true) if name == "entry" else true.phases[name])) <= 1.001
            t += float(np.nan_to_num(cycle[f"{name}_s"]))
        tally.moments += 1
        tally.moments_true += abs((int(cycle["end_ns"]) - pl.EPOCH_NS) / NS - pl.left_s(true)) <= 1.001


@dataclass
class Planted:
    """One incoherence in one day: the first scan that shows it, that which told it, and what was told wrongly."""

    shown: int
    told: int
    wrong: list[tuple[int, str]]


def plant_one(make: Callable[[], Lock], fault: str, seconds: int, seed: int, for_s: int) -> Planted:
    """Plant a fault at a lockage of a lock with two heads, and judge that day."""
    rng = np.random.default_rng(seed)
    probe = pl.run(make(), seconds, seed)
    whole = [x for x in probe.lockages if "exit" in x.phases and x.vessel and x.start_s < seconds - for_s]
    chosen = whole[int(rng.integers(0, len(whole)))]
    in_it = fault == "lock-mode-change-in-cycle"
    at = int(chosen.phases["levelling"] + 20) if in_it else int(chosen.start_s + rng.integers(0, 60))
    lock = make()
    if fault in IN_THE_PLANT:
        plant(lock, fault, at, at + for_s)
    day = pl.run(lock, seconds, seed)
    if fault not in IN_THE_PLANT:
        show(day, fault, at, at + for_s)
    topology, areas_m2 = topology_of(lock)
    _, phases = lockages(day, areas_m2)
    raised, truth = judge(day, topology, phases), shown(day, topology, phases)
    rule = RULE_OF[fault]
    first = np.flatnonzero(truth[rule])
    told = np.flatnonzero(raised >> lock_rules.RULES.index(rule) & 1)
    wrong = [(int(i), r) for i in np.flatnonzero(raised) for r in names(int(raised[i])) if not truth[r][i]]
    return Planted(int(first[0]) if len(first) else -1, int(told[0]) if len(told) else -1, wrong)
