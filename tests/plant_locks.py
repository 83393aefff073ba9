"""Days of the simulator's locks as columns, fast: from the plant's trace instead of one answer a second.

`tests/dsp/test_plant_locks.py` compares the columns with what the simulated PLC shows, second by second.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firmware_sim.plant import lock_kernel as lk
from firmware_sim.plant.lock import MID, TRACE, UP, Lock, Lockage, LockSize, Phase

NS = 1_000_000_000
EPOCH_NS = 1_791_000_000 * NS
DAY_S = 86_400
CLOSED, OPENING, OPEN, CLOSING, STOPPED = range(5)
RED, RED_GREEN, GREEN = range(3)
REMOTE = 1


@dataclass
class PlantDay:
    """What a lock's PLC shows at each second after `first_s`. Heads from upstream."""

    first_s: int
    heads: tuple[str, ...]
    t_ns: Any
    gates: Any  # [n, heads]
    sluices: Any
    lights: Any  # [n, 2 x heads]: in, out
    levels: Any  # [n, 3]: upstream, chamber, downstream
    mode: Any
    heartbeat: Any
    vessel: Any
    lockages: list[Lockage]
    true_level_m: Any
    phase: Any  # of the plant


def run(lock: Lock, seconds: int, seed: int) -> PlantDay:
    """Let a lock run on for so long; one row each second, the first one second from now."""
    first_s = int(lock._state[lk.TICKS]) * lock._tick_ns // NS
    trace = np.zeros((seconds, TRACE))
    before = [lock.gates[name].position for name in lock.heads]
    lock.advance((first_s + seconds) * NS, trace, 1)
    order = [UP, MID, "down"] if lock.size.short_m is not None else [UP, "down"]
    column = {name: i for i, name in enumerate(lock.heads)}
    second = first_s + 1 + np.arange(seconds)
    positions = np.stack([trace[:, 2 + 2 * column[name]] for name in order], axis=1)
    sluices = np.stack([trace[:, 3 + 2 * column[name]] for name in order], axis=1)
    start = np.array([[before[column[name]] for name in order]])
    gates = _states(np.concatenate([start, positions]))
    phase = trace[:, lk.TRACE_PHASE].astype(int)
    rng = np.random.default_rng(seed)
    clean = np.stack(
        [np.full(seconds, lock.size.upstream_m), trace[:, 0], np.full(seconds, lock.size.downstream_m)], axis=1
    )
    noise = rng.random(clean.shape) + rng.random(clean.shape) - 1.0  # as `noise.wobble`
    lockages = [x for x in lock.lockages if x.end_s is None or x.end_s > first_s]
    vessel, boat = _presence(lockages, second)
    return PlantDay(
        first_s, tuple(order), EPOCH_NS + second * NS, gates, sluices,
        _lights(lock, lockages, phase, second, order, boat, trace[:, lk.TRACE_SHORT]),
        clean + lock.size.noise_m * noise, np.full(seconds, float(REMOTE)), second % 65536.0, vessel, lockages,
        trace[:, 0], phase,
    )  # fmt: skip


def _states(positions: Any) -> Any:
    """End switches: on the way it opens or closes as it last moved, or stands."""
    moved = np.sign(np.diff(positions, axis=0))
    now = positions[1:]
    between = np.where(moved > 0, OPENING, np.where(moved < 0, CLOSING, STOPPED))
    return np.where(now == 0.0, CLOSED, np.where(now == 1.0, OPEN, between)).astype(float)


def left_s(lockage: Lockage) -> float:
    """When the boat has left; for an empty lockage, when it is over for whoever looks from outside."""
    out = lockage.phases["exit"]
    return out + 0.7 * (lockage.end_s - out) if lockage.vessel and lockage.end_s is not None else out


def came_s(lockage: Lockage) -> float:
    """When the boat is seen in the chamber."""
    start = lockage.phases["entry"]
    return start + 0.4 * (lockage.phases["closing"] - start)


def _presence(lockages: list[Lockage], second: Any) -> tuple[Any, Any]:
    present, boat = np.zeros(len(second)), np.zeros(len(second), bool)
    for x in lockages:
        if not x.vessel:
            continue
        boat |= (second >= x.start_s) & (second < (x.end_s or np.inf))
        if "closing" not in x.phases:
            continue
        until = left_s(x) if "exit" in x.phases and x.end_s is not None else np.inf
        present[(second >= came_s(x)) & (second < until)] = 1.0
    return present, boat


def _lights(
    lock: Lock, lockages: list[Lockage], phase: Any, second: Any, order: list[str], boat: Any, short: Any
) -> Any:
    """Green to enter while it waits for the boat, green to leave once the gate is open, at the head in use."""
    lights = np.zeros((len(second), 2 * len(order)))
    side = np.zeros(len(second), int)
    for x in lockages:
        to_up = x.direction == UP
        turned = x.phases.get("levelling", np.inf)
        side[second >= x.start_s] = 1 if to_up else 0  # index of the side: 0 upstream, 1 the lower head in use
        side[second >= turned] = 0 if to_up else 1
    low = np.array([order.index(MID) if MID in order and s > 0 else len(order) - 1 for s in short])
    head = np.where(side == 0, 0, low)
    rows = np.arange(len(second))
    entry = np.where((phase == Phase.ENTRY) & boat, GREEN, RED)
    leaving = np.select([phase == Phase.EXIT, phase == Phase.OPENING], [GREEN, RED_GREEN], RED)
    lights[rows, 2 * head] = entry
    lights[rows, 2 * head + 1] = np.where(boat, leaving, RED)
    return lights


def lock_of(preset: LockSize, seed: int, short_m: float | None = None) -> Lock:
    """A lock whose faults are those of its own board."""
    lock = Lock(replace(preset, short_m=short_m), seed)
    lock.device = "lock-1"
    return lock
