"""One incoherence put into a simulated day, and the scan that shows it first."""

from typing import Any

import lock_days as ld
import naive_rules
import numpy as np
from lock_days import Day


def _runs(mask: Any, least: int) -> list[tuple[int, int]]:
    """Stretches of scans [a, b) in which a mask holds for at least so long."""
    edge = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edge[::2], edge[1::2], strict=True) if b - a >= least]


def _when_owed(day: Day, at: int) -> int:
    """First scan at which the open sluices owe 0.25 m, by the twin."""
    head = 0 if day.sluices[at + 5, :2].max() > 0 else 2
    flow = (1.5 * day.sluices[at:, :2] if head == 0 else 1.5 * day.sluices[at:, 2:]).sum(axis=1)
    flow = np.where((day.sluices[at:, :2] if head == 0 else day.sluices[at:, 2:]).max(axis=1) > 0.02, flow, 0.0)
    levels = list(zip(day.levels[at:, head], day.levels[at:, 1], strict=True))[:400]
    due = naive_rules.should_have_come_m(levels, list(flow[:400]), ld.Size().area_m2, 0.10)
    return at + next(i for i, m in enumerate(due) if m >= 0.25)


def plant(day: Day, rule: str, rng: Any) -> int | None:
    """Change the day's signals in place. Returns: the first scan that shows it; None if the day has no place."""
    up, down = day.gates[:, 0], day.gates[:, 1]
    shut = np.all(day.sluices <= 0.0, axis=1)
    closed = (up == ld.CLOSED) & (down == ld.CLOSED)

    def choose(mask: Any, least: int) -> tuple[int, int] | None:
        runs = [(a, b) for a, b in _runs(mask, least) if a > 60]
        return runs[int(rng.integers(0, len(runs)))] if runs else None

    if rule == "sluice_opposite_open":
        if (at := choose((up == ld.OPEN) & shut, 60)) is None:
            return None
        i = int(rng.integers(at[0] + 5, at[1] - 30))
        day.sluices[i : i + 20, 2 + int(rng.integers(0, 2))] = rng.uniform(0.05, 1.0)
        return i
    if rule == "sluice_open_gate_closing":
        if (at := choose(down == ld.CLOSING, 30)) is None:
            return None
        i = int(rng.integers(at[0], at[1] - 10))
        day.sluices[i : i + 8, 2] = rng.uniform(0.05, 1.0)
        return i
    if rule == "gates_opposite_open":
        if (at := choose((up == ld.OPEN) & shut, 60)) is None:
            return None
        i = int(rng.integers(at[0] + 5, at[1] - 30))
        day.gates[i : i + 20, 1] = rng.choice([ld.OPENING, ld.OPEN, ld.STOPPED])
        day.levels[i : i + 20, 2] = day.levels[i : i + 20, 1]  # the head is another rule's
        return i
    if rule == "head_at_opening":
        apart = np.abs(day.true_level_m - day.levels[:, 0]) > 0.15
        if (at := choose(closed & shut & apart, 15)) is None:
            return None
        i = int(rng.integers(at[0] + 2, at[1] - 6))
        day.gates[i : i + 5, 0] = ld.OPENING
        return i
    if rule == "green_gate_not_open":
        if (at := choose(closed, 30)) is None:
            return None
        i = int(rng.integers(at[0], at[1] - 12))
        day.lights[i : i + 10, int(rng.integers(0, 4))] = ld.GREEN
        return i
    if rule == "level_moves_closed":
        if (at := choose(closed & shut, 120)) is None:
            return None
        i = int(rng.integers(at[0] + 25, at[1] - 60))
        day.levels[i:, 1] += np.clip(np.arange(len(day.levels) - i) * 0.09, 0.0, 1.8) * rng.choice([-1.0, 1.0])
        return i + 1
    if rule == "level_still_sluice_open":
        flowing = closed & np.any(day.sluices > 0.02, axis=1)
        if (at := choose(flowing, 200)) is None:
            return None
        day.levels[at[0] : at[1], 1] = day.levels[at[0] - 1, 1] + 0.004 * rng.standard_normal(at[1] - at[0])
        return _when_owed(day, at[0])
    if rule == "mode_change_in_lockage":
        if (at := choose(day.phase >= ld.ENTRY, 100)) is None:
            return None
        i = int(rng.integers(at[0] + 1, at[1] - 1))
        day.mode[i:] = 0.0
        return i
    if rule == "heartbeat_frozen":
        i = int(rng.integers(100, len(day.heartbeat) - 100))
        day.heartbeat[i : i + 60] = day.heartbeat[i]
        return i + 11  # limit 10 s: the first scan beyond it
    if rule == "sluices_opposite_open":
        filling = closed & np.any(day.sluices[:, :2] > 0.1, axis=1)
        if (at := choose(filling, 60)) is None:
            return None
        i = int(rng.integers(at[0], at[1] - 20))
        day.sluices[i : i + 15, 2] = 0.5
        return i
    raise ValueError(rule)
