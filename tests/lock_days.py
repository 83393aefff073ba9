"""Days of a lock with truth: what its PLC would show at each scan, and what really happened.

Whole days as arrays, in closed form: with sluices that open linearly the root of the head falls by the integral
of the opening (c w sqrt(2 g h) dt = -A dh), so any instant is exact and a day costs milliseconds. Written on its
own, not from the kernels nor from the simulated PLC.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

S = 1_000_000_000
DAY_S = 86_400
G = 9.81
START_NS = 1_790_000_000 * S
CLOSED, OPENING, OPEN, CLOSING, STOPPED = range(5)
RED, RED_GREEN, GREEN = range(3)
REMOTE, MAINTENANCE = 1, 2
UP, DOWN = 0, 1
IDLE_UP, IDLE_DOWN, ENTRY, SHUT_GATE, LEVELLING, OPEN_GATE, EXIT = range(7)


@dataclass(frozen=True)
class Size:
    area_m2: float = 144.60 * 12.0
    reach_m: tuple[float, float] = (21.60, 16.70)
    sluice_m2: tuple[float, float] = (2.5, 2.5)  # two sluices a head
    coefficient: tuple[float, float] = (0.70, 0.66)
    noise_m: float = 0.004
    spikes: float = 1e-4  # share of level samples that are nonsense
    leak_m_s: float = 2e-6
    scan_s: int = 1


@dataclass
class Lockage:
    direction: int  # 1 up, -1 down
    vessel: bool
    volume_m3: float
    starts_s: dict[str, float]
    drives_s: tuple[float, float]


@dataclass
class Day:
    """Columns of one day; `phase` is the truth at each scan."""

    t_ns: Any
    gates: Any  # [n, 2]
    positions: Any  # of the gates
    sluices: Any  # [n, 4]: two upstream, two downstream
    lights: Any  # [n, 4]: in and out upstream, in and out downstream
    levels: Any  # [n, 3]
    mode: Any
    heartbeat: Any
    vessel: Any
    phase: Any
    true_level_m: Any
    lockages: list[Lockage] = field(default_factory=list)

    @property
    def in_lockage(self) -> Any:
        return (self.phase >= ENTRY).astype(float)


class _Track:
    """A signal as instants and values: steps, or straight lines between."""

    def __init__(self, value: float) -> None:
        self.t: list[float] = [-1e9]
        self.v: list[float] = [value]

    def set(self, t: float, value: float) -> None:
        self.t.append(t)
        self.v.append(value)

    def ramp(self, t0: float, t1: float, value: float) -> None:
        self.set(t0, self.v[-1])
        self.set(t1, value)

    def steps(self, t: Any) -> Any:
        return np.asarray(self.v)[np.searchsorted(self.t, t, side="right") - 1]

    def lines(self, t: Any) -> Any:
        return np.interp(t, self.t, self.v)


def _ramp(t: Any, over_s: float) -> Any:
    """Integral of an opening that grows from 0 at 0 to 1 at `over_s` and stays."""
    t = np.maximum(t, 0.0)
    return np.where(t < over_s, 0.5 * t * t / over_s, t - 0.5 * over_s)


def day(seed: int, size: Size = Size(), night: bool = True) -> Day:
    """One day at random: traffic, empty lockages, waits with all closed, a night; drives and habits vary."""
    rng = np.random.default_rng(seed)
    n = DAY_S // size.scan_s
    at = np.arange(n) * float(size.scan_s) + rng.uniform(0.0, 0.2)
    reach = [
        size.reach_m[h] + 0.04 * np.sin(2 * np.pi * (at / rng.uniform(3e3, 9e3) + rng.random())) for h in (0, 1)
    ]
    side = int(rng.integers(0, 2))
    gate = [_Track(1.0 if h == side else 0.0) for h in (UP, DOWN)]
    state = [_Track(OPEN if h == side else CLOSED) for h in (UP, DOWN)]
    sluice = [_Track(0.0) for _ in range(4)]
    light = [_Track(RED) for _ in range(4)]
    vessel, phase = _Track(0.0), _Track(side)
    level = reach[side].copy()
    waves = np.zeros(n)
    found: list[Lockage] = []

    def since(t: float) -> int:
        """Index of the first scan at or after an instant."""
        return max(0, min(n, int(np.ceil((t - at[0]) / size.scan_s))))

    def height(h: int, t: float) -> float:
        return float(reach[h][since(t)])

    def drive(h: int, t: float, opens: bool) -> float:
        over = rng.uniform(55.0, 70.0)
        gate[h].ramp(t, t + over, 1.0 if opens else 0.0)
        state[h].set(t, OPENING if opens else CLOSING)
        state[h].set(t + over, OPEN if opens else CLOSED)
        return t + over

    def wave(t: float, amplitude: float) -> None:
        part = slice(since(t), since(t + 400.0))
        x = at[part] - t
        waves[part] += amplitude * np.exp(-x / 60.0) * np.sin(2 * np.pi * x / 45.0)

    t = rng.uniform(60.0, 600.0)
    rest_at = rng.uniform(0.3, 0.7) * DAY_S if night else 2.0 * DAY_S
    while t < DAY_S - 3600.0:
        if t > rest_at:  # closed for some hours, nobody passes
            rest_at = 2.0 * DAY_S
            shut = drive(side, t, False)
            phase.set(t, SHUT_GATE)
            phase.set(shut, LEVELLING)
            phase.set(shut + 300.0, side)
            wake = min(shut + rng.uniform(1800.0, 4 * 3600.0), DAY_S - 4000.0)
            resting = slice(since(shut), since(wake))
            level[resting] = level[resting][0] - size.leak_m_s * (at[resting] - shut)
            level[resting] += np.clip(reach[side][resting] - level[resting], -0.03, 0.03)
            t = drive(side, wake, True) + rng.uniform(60.0, 600.0)
            if t > DAY_S - 3600.0:
                break
            phase.set(wake, side)
            level[since(wake) :] = reach[side][since(wake) :]
        target = 1 - side
        has_vessel = bool(rng.random() > 0.15)
        starts: dict[str, float] = {}
        if has_vessel:
            light[2 * side].set(t - 40.0, RED_GREEN)
            light[2 * side].set(t - 20.0, GREEN)
            starts["entry"] = t
            phase.set(t, ENTRY)
            vessel.set(t, 1.0)
            if rng.random() < 0.3:  # the presence sensor flickers
                blink = t + rng.uniform(10.0, 60.0)
                vessel.set(blink, 0.0)
                vessel.set(blink + rng.uniform(1.0, 6.0), 1.0)
            t += rng.uniform(90.0, 400.0)
            light[2 * side].set(t - rng.uniform(1.5, 10.0), RED)
        starts["closing"] = t
        phase.set(t, SHUT_GATE)
        shut = drive(side, t, False)
        drive_close_s = shut - t
        starts["levelling"] = shut
        phase.set(shut, LEVELLING)
        wave(shut, rng.uniform(0.0, 0.015))
        t = shut + rng.uniform(2.0, 25.0)
        if has_vessel and rng.random() < 0.1:
            t += rng.uniform(300.0, 900.0)  # waits for another vessel with everything closed
        opened = (t, t + rng.uniform(0.0, 20.0))
        over = rng.uniform(80.0, 140.0)
        pull = [
            c * w * np.sqrt(2 * G) / (2 * size.area_m2)
            for c, w in zip(size.coefficient, size.sluice_m2, strict=True)
        ]
        before = level[since(shut) - 1]
        grid = np.arange(t, t + 3600.0, 1.0)
        fall = sum(k * _ramp(grid - o, over) for k, o in zip(pull, opened, strict=True))
        start_m = before - size.leak_m_s * (t - shut)
        head_m = height(target, t) - start_m
        equal = float(np.interp(np.sqrt(abs(head_m)), fall, grid))
        leaking = slice(since(shut), since(t))
        level[leaking] = before - size.leak_m_s * (at[leaking] - shut)
        flowing = slice(since(t), since(equal))
        fallen = sum(k * _ramp(at[flowing] - o, over) for k, o in zip(pull, opened, strict=True))
        root = np.sqrt(abs(head_m)) - fallen
        drift = reach[target][flowing] - height(target, t)
        share = np.clip((at[flowing] - t) / (equal - t), 0.0, 1.0)
        level[flowing] = height(target, t) - np.sign(head_m) * root**2 + drift * share
        level[since(equal) :] = reach[target][since(equal) :]
        wave(equal, rng.uniform(0.0, 0.015))
        keeps = bool(rng.random() < 0.5)  # sluices still open while the gate opens at equal level
        begin = max(equal, opened[1] + over) + rng.uniform(5.0, 60.0)
        for k, o in enumerate(opened):
            sluice[2 * target + k].ramp(o, o + over, 1.0)
        close = begin + rng.uniform(-3.0, 90.0) if keeps else begin
        for k in (0, 1):
            sluice[2 * target + k].ramp(close, close + 40.0, 0.0)
        if not keeps:
            begin = close + 40.0 + rng.uniform(1.0, 10.0)
        starts["opening"] = begin
        phase.set(begin, OPEN_GATE)
        t = drive(target, begin, True)
        drive_open_s = t - begin
        starts["exit"] = t
        settled = max(t, close + 40.0)
        if has_vessel:
            light[2 * target + 1].set(t + 1.0, GREEN)
            phase.set(t, EXIT)
            t += rng.uniform(90.0, 300.0)
            vessel.set(t, 0.0)
            light[2 * target + 1].set(t - 5.0, RED)
        starts["end"] = t
        phase.set(t, target)
        side = target
        volume_m3 = size.area_m2 * abs(height(target, begin) - start_m)
        found.append(
            Lockage(1 if target == UP else -1, has_vessel, volume_m3, starts, (drive_close_s, drive_open_s))
        )
        t = max(t, settled) + rng.uniform(40.0, 900.0)
    truth = level + waves
    levels = np.stack([reach[UP], truth, reach[DOWN]], axis=1)
    levels += size.noise_m * rng.standard_normal(levels.shape, dtype=np.float32)
    spikes = rng.integers(0, levels.size, rng.poisson(size.spikes * levels.size))
    levels.flat[spikes] += rng.choice([-1.0, 0.7])
    return Day(
        START_NS + np.round(at * S).astype(np.int64),
        np.stack([track.steps(at) for track in state], axis=1).astype(float),
        np.stack([track.lines(at) for track in gate], axis=1),
        np.stack([track.lines(at) for track in sluice], axis=1),
        np.stack([track.steps(at) for track in light], axis=1).astype(float),
        levels,
        np.full(n, float(REMOTE)),
        np.arange(n) % 65536.0,
        vessel.steps(at).astype(float),
        phase.steps(at).astype(np.int64),
        truth,
        found,
    )
