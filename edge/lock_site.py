"""A lock in the site file: its heads, gates, sluices, lights and chambers, and what its profile can feed of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from drivers.errors import ProfileError
from drivers.plan import plan
from drivers.profile import Profile
from dsp import lock_rules, lock_topology
from dsp.lock_hydraulics import SLUICES as MOST_SLUICES

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$", max_length=48)]
UPSTREAM, DOWNSTREAM, CHAMBER = "level_upstream_m", "level_downstream_m", "level_chamber_m"
LIGHTS = ("in", "out")


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LockHead(Table):
    """One head, in order from upstream."""

    name: Id = Field(description="the head's name, as in up")
    gates: tuple[Id, ...] = Field(
        min_length=1, description="<id> of gate_<id>_state; one for each leaf where leaves have their own signals"
    )
    sluices: tuple[Id, ...] = Field((), description="<id> of sluice_<id>_position or _state, each signal once")
    sluice_m2: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (), description="opening of each of these sluices, fully open, as in [2.5, 2.5]"
    )
    sluices_in: Literal["culvert", "gate"] = Field("culvert", description="culvert or gate")
    lights: tuple[Id, ...] = Field((), description='<side>_<in or out> of light_…, as in ["up_in", "up_out"]')
    intermediate: bool = Field(False, description="true for a gate that only shortens the chamber")


class LockChamber(Table):
    """One chamber, between two heads, in order from upstream."""

    area_m2: float = Field(gt=0, description="plan area of this chamber, as in 1735.2")
    level: str | None = Field(None, description="the point of its level; left out where it has no sensor")


class LockLimits(Table):
    """When a rule speaks; what is left out has the default of dsp.lock_topology.Limits."""

    sluice_shut: float | None = Field(None, ge=0, le=0.5, description="an opening up to this share is closed")
    head_m: float | None = Field(None, gt=0, le=5, description="most head across a gate that opens, in m")
    moving_m: float | None = Field(None, gt=0, le=5, description="a closed chamber may move by this, in m")
    window_s: float | None = Field(None, gt=1, le=3600, description="... within this time, in s")
    settle_s: float | None = Field(None, ge=0, le=3600, description="waves after the last movement, in s")
    still_m: float | None = Field(None, gt=0, le=5, description="what should have come through a sluice, in m")
    still_share: float | None = Field(None, gt=0, lt=1, description="less than this share of it is still")
    jump_m: float | None = Field(None, gt=0, le=5, description="a level that jumps by more is a spike, in m")
    heartbeat_s: float | None = Field(None, gt=0, le=3600, description="longest stand of the heartbeat, in s")


class LevelBand(Table):
    """Where a level is meant to be. The gateway does not judge it; the monthly report counts the time."""

    point: str = Field(description="the point of the level, as in level_upstream_m")
    low_m: float = Field(description="lowest level that is in the band, in m")
    high_m: float = Field(description="highest level that is in the band, in m")


class LockConfig(Table):
    chamber_area_m2: float | None = Field(None, gt=0, description="chamber area, as in 1735.2")
    datum: str = Field("", description="what the levels are measured from, as in NGF-IGN69")
    gate_up: Id = Field("up", description="<id> of gate_<id>_state of the upstream head")
    gate_down: Id = Field("down", description="<id> of the downstream head's gate")
    sluice_up: Id = Field("up", description="<id> of sluice_<id>_position of the upstream head")
    sluice_down: Id = Field("down", description="<id> of the downstream head's sluice")
    sluice_m2: float | None = Field(None, gt=0, description="opening of one head's sluices together, as in 5.0")
    coefficient: float = Field(
        0.6, gt=0, le=1, description="discharge coefficient that the sluices surely have; usually 0.6 to 0.9"
    )
    head: tuple[LockHead, ...] = Field((), description="heads from upstream, [[device.lock.head]]; else two")
    chamber: tuple[LockChamber, ...] = Field((), description="chambers between them, [[device.lock.chamber]]")
    limits: LockLimits = Field(LockLimits(), description="[device.lock.limits]: when a rule speaks")
    band: tuple[LevelBand, ...] = Field((), description="[[device.lock.band]]: where a level is meant to be")
    pumps_in_register: bool | None = Field(
        None, description="true if energy_total_wh counts the pumps too, false if not; left out: not known"
    )
    rules_off: tuple[str, ...] = Field((), description=f"rules not wanted, of {', '.join(lock_rules.RULES)}")
    maintenance_mode: int = Field(2, ge=-1, description="code of mode in which rules only show; -1 for none")

    def heads(self) -> tuple[LockHead, ...]:
        """As declared; else an upstream and a downstream head of one gate and one sluice signal each."""
        if self.head:
            return self.head
        size = () if self.sluice_m2 is None else (self.sluice_m2,)
        return tuple(
            LockHead(
                name=side, gates=(gate,), sluices=(sluice,), sluice_m2=size,
                lights=tuple(f"{side}_{way}" for way in LIGHTS),
            )
            for side, gate, sluice in (
                ("up", self.gate_up, self.sluice_up), ("down", self.gate_down, self.sluice_down)
            )
        )  # fmt: skip

    def chambers(self) -> tuple[LockChamber, ...]:
        if self.chamber or self.chamber_area_m2 is None:
            return self.chamber
        return (LockChamber(area_m2=self.chamber_area_m2, level=CHAMBER),)


@dataclass(frozen=True)
class Signal:
    """Where a gate or sluice is in a row; None for what the profile does not have."""

    id: str
    point: str  # the point's name, for events
    state: int | None
    position: int | None


@dataclass(frozen=True)
class Passage:
    """What lockages are told of: a chamber with the heads above and below it, intermediate ones among them."""

    chamber: int
    level: int  # its index among the levels
    above: tuple[int, ...]
    below: tuple[int, ...]


@dataclass(frozen=True)
class LockShape:
    """A lock ready to be fed: the kernel's record, and where each signal stands in a row."""

    lock: lock_topology.Lock
    record: NDArray[Any]
    heads: tuple[LockHead, ...]
    gates: tuple[Signal, ...]
    gate_head: tuple[int, ...]
    sluices: tuple[Signal, ...]
    sluice_head: tuple[int, ...]
    sluice_m2: tuple[NDArray[np.float64], ...]  # per head
    lights: tuple[str, ...]
    light_points: tuple[int | None, ...]
    level_names: tuple[str, ...]
    level_points: tuple[int | None, ...]
    areas_m2: tuple[float, ...]
    passages: tuple[Passage, ...]

    @property
    def not_evaluated(self) -> dict[str, str]:
        return lock_topology.not_evaluated(self.lock)


def shape_of(lock: LockConfig, profile: Profile, interval_s: float) -> LockShape:
    """Compile a lock. Raises: ValueError on what `problems` would have told."""
    heads, chambers, index = lock.heads(), lock.chambers(), profile.index
    requests = _requests(profile)

    def together(points: Iterable[int | None], otherwise: int) -> int:
        """The request that brings all of these points; a number of its own where there are several."""
        seen = {requests[p] for p in points if p is not None}
        return seen.pop() if len(seen) == 1 else otherwise

    gates = [[_signal("gate", id_, index) for id_ in head.gates] for head in heads]
    sluices = [[_signal("sluice", id_, index) for id_ in head.sluices] for head in heads]
    lights = [[name for name in head.lights if f"light_{name}" in index] for head in heads]
    levels = (UPSTREAM, *(c.level or "" for c in chambers), DOWNSTREAM)
    packed = lock_topology.Lock(
        heads=[
            lock_topology.Head(
                gates=len(head.gates),
                sluice_m2=tuple(lock.coefficient * m2 for m2 in head.sluice_m2) or (0.0,) * len(head.sluices),
                lights=len(lights[h]),
                gate_request=together((_best(g) for g in gates[h]), -10 * h - 11),
                sluice_request=together((_best(s) for s in sluices[h]), -10 * h - 12),
                light_request=together((index[f"light_{name}"] for name in lights[h]), -10 * h - 13),
            )
            for h, head in enumerate(heads)
        ],
        chamber_m2=tuple(c.area_m2 for c in chambers),
        level_request=together((index.get(name) for name in levels), -1),
        maintenance_mode=lock.maintenance_mode,
        lacking=frozenset(_lacking(gates, sluices, levels, index)),
        off=frozenset(lock.rules_off),
        limits=lock_topology.Limits(**_limits(lock.limits, interval_s)),
        level_sensors=tuple(name in index for name in levels),
    )
    return LockShape(
        lock=packed,
        record=lock_topology.pack(packed),
        heads=heads,
        gates=tuple(g for of_head in gates for g in of_head),
        gate_head=tuple(h for h, of_head in enumerate(gates) for _ in of_head),
        sluices=tuple(s for of_head in sluices for s in of_head),
        sluice_head=tuple(h for h, of_head in enumerate(sluices) for _ in of_head),
        sluice_m2=tuple(np.array(head.sluice_m2, np.float64) for head in heads),
        lights=tuple(name for of_head in lights for name in of_head),
        light_points=tuple(index[f"light_{name}"] for of_head in lights for name in of_head),
        level_names=levels,
        level_points=tuple(index.get(name) for name in levels),
        areas_m2=tuple(c.area_m2 for c in chambers),
        passages=tuple(_passages(heads, levels, index)),
    )


def problems(lock: LockConfig, profile: Profile) -> Iterator[tuple[str, object, str]]:
    """Key, value and remedy of what does not fit together, or not with the profile."""
    heads, chambers, index = lock.heads(), lock.chambers(), profile.index
    if not chambers:
        yield "chamber_area_m2", None, "a lock needs its chamber's area; give it, or [[device.lock.chamber]]"
    elif len(heads) != len(chambers) + 1:
        yield "chamber", len(chambers), f"{len(heads)} heads need {len(heads) - 1} of them, one between each two"
    if lock.head and len(heads) > lock_rules.HEADS:
        yield "head", len(heads), f"at most {lock_rules.HEADS} heads are handled; make two devices of the lock"
    for i, head in enumerate(heads if lock.head else ()):
        key = f"head[{i}]"
        if head.sluice_m2 and len(head.sluice_m2) != len(head.sluices):
            yield (
                f"{key}.sluice_m2",
                list(head.sluice_m2),
                f"give one size for each of {len(head.sluices)} sluices",
            )
        if len(head.sluices) > MOST_SLUICES:
            yield f"{key}.sluices", list(head.sluices), f"at most {MOST_SLUICES} a head; take them together"
        if head.intermediate and i in (0, len(heads) - 1):
            yield f"{key}.intermediate", True, "the first and the last head hold the reaches; take it out"
        for kind, ids, endings in (
            ("gate", head.gates, ("_state", "_position")),
            ("sluice", head.sluices, ("_position", "_state")),
            ("light", head.lights, ("",)),
        ):
            for id_ in ids:
                if not any(f"{kind}_{id_}{ending}" in index for ending in endings):
                    known = sorted({n for n in index if n.startswith(f"{kind}_")})
                    yield f"{key}.{kind}s", id_, f"the profile has no {kind}_{id_}{endings[0]}; it has {known}"
    for i, chamber in enumerate(lock.chamber):
        if chamber.level is not None and chamber.level not in index:
            known = sorted(n for n in index if n.startswith("level_"))
            yield f"chamber[{i}].level", chamber.level, f"is no point of the profile; use one of {known}"
    for i, band in enumerate(lock.band):
        if band.point not in index:
            known = sorted(n for n in index if n.startswith("level_"))
            yield f"band[{i}].point", band.point, f"is no point of the profile; use one of {known}"
        if band.low_m >= band.high_m:
            yield f"band[{i}].high_m", band.high_m, f"must lie above low_m = {band.low_m}"
    for rule in lock.rules_off:
        if rule not in lock_rules.RULES:
            yield "rules_off", rule, f"is no rule; use {', '.join(lock_rules.RULES)}"


def _signal(kind: str, id_: str, index: dict[str, int]) -> Signal:
    state, position = index.get(f"{kind}_{id_}_state"), index.get(f"{kind}_{id_}_position")
    ending = "state" if state is not None else "position"
    return Signal(id_, f"{kind}_{id_}_{ending}", state, position)


def _best(signal: Signal) -> int | None:
    """The point that counts: a gate's end switches, a sluice's opening where it has one."""
    is_sluice = signal.point.startswith("sluice_")
    first, second = (signal.position, signal.state) if is_sluice else (signal.state, signal.position)
    return first if first is not None else second


def _lacking(
    gates: Sequence[Sequence[Signal]], sluices: Sequence[Sequence[Signal]], levels: Sequence[str],
    index: dict[str, int],
) -> Iterator[str]:  # fmt: skip
    """Signals that the PLC does not offer, in the words of `dsp.lock_topology`."""
    for name, of_heads in (("gates", gates), ("sluices", sluices)):
        if any(_best(signal) is None for of_head in of_heads for signal in of_head):
            yield name
    for name, point in (("level_upstream", UPSTREAM), ("level_downstream", DOWNSTREAM)):
        if point not in index:
            yield name
    if not any(name in index for name in levels[1:-1]):
        yield "level_chamber"
    for name in ("mode", "heartbeat"):
        if name not in index:
            yield name


def _limits(limits: LockLimits, interval_s: float) -> dict[str, float]:
    """A heartbeat is seen once a scan: it may stand for three of them."""
    given = {name: value for name, value in limits.model_dump().items() if value is not None}
    return {"heartbeat_s": max(lock_topology.Limits().heartbeat_s, 3.0 * interval_s)} | given


def _requests(profile: Profile) -> dict[int, int]:
    """Which request brings each point. Nodes of an OPC UA server are snapshots of their own."""
    found = {i: -1000 - i for i in range(len(profile.points))}
    if profile.protocol != "modbus":
        return found
    number = 0
    for scan in profile.scans:
        try:
            blocks = plan(profile, scan).points
        except ProfileError:  # told when the site file is checked
            continue
        for members in blocks:
            found |= dict.fromkeys(members, number)
            number += 1
    return found


def _passages(heads: Sequence[LockHead], levels: Sequence[str], index: dict[str, int]) -> Iterator[Passage]:
    """One for each run of chambers between heads that are not intermediate."""
    walls = [h for h, head in enumerate(heads) if not head.intermediate]
    for upper, lower in pairwise(walls):
        chambers = range(upper, lower)
        chosen = next((c for c in chambers if levels[c + 1] in index), upper)
        yield Passage(chosen, chosen + 1, tuple(range(upper, chosen + 1)), tuple(range(chosen + 1, lower + 1)))
