"""A lock's heads, gates, sluices and lights as one record, and which rules its signals can feed.

Plain Python over dictionaries, called once at start: the kernel in `dsp.lock_rules` takes the record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp import lock_rules as r


@dataclass(frozen=True)
class Head:
    """One head: how many gates (leaves), its sluices' sizes, how many lights; and the request each comes with.

    `sluice_m2`: coefficient times opening of each sluice, rather too small than too large. [m2]
    """

    gates: int = 1
    sluice_m2: Sequence[float] = (2.0,)
    lights: int = 2
    gate_request: int = 0
    sluice_request: int = 0
    light_request: int = 0


@dataclass(frozen=True)
class Limits:
    """When a rule speaks. The defaults suit sensors good to 1 cm and waves of 2 cm; a site may set its own."""

    sluice_shut: float = 0.02
    head_m: float = 0.10
    moving_m: float = 0.08
    window_s: float = 60.0
    settle_s: float = 20.0
    still_m: float = 0.25
    still_share: float = 0.2
    jump_m: float = 0.25
    heartbeat_s: float = 10.0


@dataclass(frozen=True)
class Lock:
    """A lock from its upstream head to its downstream one; `chamber_m2` between each two. [m2]

    `level_sensors`: which of upstream, the chambers and downstream are measured; None: all. A chamber without has
    the level of the water that it is open to. `lacking`: signals that the PLC does not offer, of "gates",
    "sluices", "lights", "level_upstream", "level_chamber", "level_downstream", "mode", "heartbeat". `off`: rules
    switched off, by name.
    """

    heads: Sequence[Head]
    chamber_m2: Sequence[float]
    level_request: int = 0
    maintenance_mode: int = 2
    lacking: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)
    level_sensors: Sequence[bool] | None = None


NEEDS: Mapping[str, tuple[str, ...]] = {
    "sluice_opposite_open": ("gates", "sluices"),
    "sluice_open_gate_closing": ("gates", "sluices"),
    "gates_opposite_open": ("gates",),
    "head_at_opening": ("gates", "level_upstream", "level_chamber", "level_downstream"),
    "green_gate_not_open": ("gates", "lights"),
    "level_moves_closed": ("gates", "sluices", "level_chamber"),
    "level_still_sluice_open": ("gates", "sluices", "level_upstream", "level_chamber", "level_downstream"),
    "mode_change_in_lockage": ("mode", "gates"),
    "heartbeat_frozen": ("heartbeat",),
    "sluices_opposite_open": ("sluices",),
}


def pack(lock: Lock) -> NDArray[Any]:
    """A lock as the record that `dsp.lock_rules.step` takes. Raises ValueError on what cannot be."""
    counts = {
        "heads": (len(lock.heads), r.HEADS),
        "gates": (sum(h.gates for h in lock.heads), r.GATES),
        "sluices": (sum(len(h.sluice_m2) for h in lock.heads), r.SLUICES),
        "lights": (sum(h.lights for h in lock.heads), r.LIGHTS),
    }
    for name, (count, most) in counts.items():
        if count > most:
            raise ValueError(f"{count} {name}, at most {most} are handled; split the lock in two")
    if len(lock.heads) < 2 or len(lock.chamber_m2) != len(lock.heads) - 1:
        raise ValueError(
            f"{len(lock.heads)} heads and {len(lock.chamber_m2)} chambers; a lock has one head more than chambers"
        )
    if bad := lock.off - set(r.RULES):
        raise ValueError(f"rule {sorted(bad)[0]!r} is not known; use {', '.join(r.RULES)}")
    record = np.zeros(1, r.TOPOLOGY)
    row = record[0]
    for name, (count, _) in counts.items():
        row[name] = count
    g = k = n = 0
    for h, head in enumerate(lock.heads):
        for _ in range(head.gates):
            row["gate_head"][g], g = h, g + 1
        for size_m2 in head.sluice_m2:
            row["sluice_head"][k], row["sluice_m2"][k], k = h, size_m2, k + 1
        for _ in range(head.lights):
            row["light_head"][n], n = h, n + 1
    row["chamber_m2"][: len(lock.chamber_m2)] = lock.chamber_m2
    sensors = lock.level_sensors or (True,) * (len(lock.heads) + 1)
    row["sensor"][: len(sensors)] = sensors
    for name, value in vars(lock.limits).items():
        row[name] = value
    row["maintenance_mode"] = lock.maintenance_mode
    fed = [rule not in lock.off and not reason(lock, rule) for rule in r.RULES]
    row["enabled"] = sum(1 << i for i, on in enumerate(fed) if on)
    row["apart"] = sum(1 << i for i, rule in enumerate(r.RULES) if len(_requests(lock, rule)) > 1)
    return record


def not_evaluated(lock: Lock) -> dict[str, str]:
    """Rules that this lock cannot feed, or that are switched off, each with the reason."""
    told = {rule: reason(lock, rule) or ("switched off" if rule in lock.off else "") for rule in r.RULES}
    return {rule: why for rule, why in told.items() if why}


def reason(lock: Lock, rule: str) -> str:
    """Why the lock's signals cannot feed a rule; empty if they can."""
    for need in NEEDS[rule]:
        if need in lock.lacking:
            return f"no signal for {need}"
        if need == "sluices" and not any(head.sluice_m2 for head in lock.heads):
            return "no sluices declared"
        if need == "lights" and not any(head.lights for head in lock.heads):
            return "no lights declared"
    if rule == "level_still_sluice_open" and not any(m2 > 0 for head in lock.heads for m2 in head.sluice_m2):
        return "no size of a sluice declared"
    return ""


def _requests(lock: Lock, rule: str) -> set[int]:
    """The requests that a rule's signals come with. One signal alone cannot contradict itself."""
    if rule in ("mode_change_in_lockage", "heartbeat_frozen"):
        return set()
    found: set[int] = set()
    for need in NEEDS[rule]:
        if need == "gates":
            found |= {head.gate_request for head in lock.heads if head.gates}
        elif need == "sluices":
            found |= {head.sluice_request for head in lock.heads if head.sluice_m2}
        elif need == "lights":
            found |= {head.light_request for head in lock.heads if head.lights}
        else:
            found.add(lock.level_request)
    return found
