"""A lock on the gateway: its lockages, what does not fit together, and how it ages."""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.profile import Profile
from drivers.row import Row
from dsp import lock_cycle, lock_rules
from dsp import lock_hydraulics as hydraulics
from edge import wire
from edge.again import Input
from edge.lock_site import LockConfig, LockShape, Passage, shape_of
from edge.lock_trends import Trends
from edge.unit import NAN, NOT_SCANNED, NS, Output, event, fields_of, join, split

DIRECTIONS = {1: "up", -1: "down", 0: "unknown"}
MOVING_SLUICE = 0.5  # of a sluice with end switches only
QUIET_NS = 10 * NS  # an incoherence that comes back sooner is the same one, flickering
SHOWN = (
    (lock_cycle.TOLD_LEVEL, "levels"), (lock_cycle.TOLD_SLUICE, "sluices"), (lock_cycle.TOLD_VESSEL, "presence"),
)  # fmt: skip
PHASE_AGAIN_NS = 60 * NS
STORY = np.dtype([("began_ns", "i8"), ("quiet_ns", "i8"), ("times", "i8"), ("inhibited", "i8")])


class LockSignals:
    """One scan of a lock, as the kernels take it."""

    def __init__(self, shape: LockShape, profile: Profile) -> None:
        self.shape = shape
        index = profile.index
        self._gates = _places(gate.state for gate in shape.gates)
        self._by_position = [(i, g.position) for i, g in enumerate(shape.gates) if g.state is None]
        self._sluices = _places(sluice.position for sluice in shape.sluices)
        self._lights, self._levels = _places(shape.light_points), _places(shape.level_points)
        self._others = _places(index.get(name) for name in ("mode", "heartbeat", "vessel_present"))
        self.gates, self.sluices = np.full(len(shape.gates), NAN), np.full(len(shape.sluices), NAN)
        self.lights, self.levels = np.full(len(shape.lights), NAN), np.full(len(shape.level_points), NAN)
        self.mode = self.heartbeat = self.vessel = NAN
        self.before = np.full(len(shape.gates), NAN)  # positions a scan ago, where they have to stand for a state

    def in_scan(self, row: Row) -> bool:
        """Whether a row reads gates, sluices or levels at all."""
        points = [p for places in (self._gates, self._sluices, self._levels) for p in places if p >= 0]
        return bool((row.quality[points] != NOT_SCANNED).any())

    def take(self, known: NDArray[np.float64]) -> None:
        """`known`: values of all points, NaN where unknown, and a NaN behind them."""
        self.gates[:], self.sluices[:] = known[self._gates], known[self._sluices]
        self.lights[:], self.levels[:] = known[self._lights], known[self._levels]
        self.mode, self.heartbeat, self.vessel = known[self._others].tolist()
        for i, point in self._by_position:
            position, before = float(known[-1 if point is None else point]), float(self.before[i])
            self.gates[i], self.before[i] = hydraulics.gate_state(position, before), position
        for k in np.flatnonzero(np.isnan(self.sluices)):
            state = self.shape.sluices[k].state
            self.sluices[k] = _by_end_switches(float(known[-1 if state is None else state]))

    def head_state(self, head: int) -> float:
        """A head's gates as one: closed only when every leaf is, open only when every leaf is."""
        found = [s for s, h in zip(self.gates, self.shape.gate_head, strict=True) if h == head]
        return _as_one(found, both=lock_cycle.GATE_OPEN, ends=lock_cycle.GATE_CLOSED)

    def side(self, heads: tuple[int, ...]) -> float:
        """Heads in a row as one: the water is parted as long as one of them is closed."""
        states = [self.head_state(h) for h in heads]
        if any(s == lock_cycle.GATE_CLOSED for s in states):
            return float(lock_cycle.GATE_CLOSED)
        return _as_one(states, both=lock_cycle.GATE_OPEN, ends=lock_cycle.GATE_OPEN)

    def opening(self, heads: tuple[int, ...]) -> float:
        found = [s for s, h in zip(self.sluices, self.shape.sluice_head, strict=True) if h in heads]
        return max(found, default=NAN) if not np.isnan(found).any() else NAN

    def parts(self) -> list[NDArray[Any]]:
        return [self.before]


class Lock:
    """Feeds the kernels of one lock, whatever its topology."""

    point = "lock_cycle"  # of events about its late rows

    def __init__(self, device: str, lock: LockConfig, profile: Profile, interval_s: float) -> None:
        self._device, self._shape = device, shape_of(lock, profile, interval_s)
        shape = self._shape
        self.ROW = np.dtype(
            [("t_ns", "i8"), ("source", "i8"), ("live", "i8"), ("value", "f8", len(profile.points))]
        )
        self._signals = LockSignals(shape, profile)
        self._energy = profile.index.get("energy_total_wh", -1)
        self._cycles = [lock_cycle.init() for _ in shape.passages]
        self._out = np.zeros(1, lock_cycle.OUT)
        self._rules = lock_rules.init()
        self._stories = np.zeros(lock_rules.N_RULES, STORY)
        self._trends = Trends(device, shape)
        self._area_m2 = np.array([shape.areas_m2[p.chamber] for p in shape.passages])
        self._energy_wh = np.full(1 + len(shape.passages), NAN)  # now, and at the last lockage of each chamber
        self._unfed = "; ".join(f"{rule}: {why}" for rule, why in shape.not_evaluated.items())
        self._unfed_mark = struct.unpack("<q", hashlib.sha256(self._unfed.encode()).digest()[:8])[0] | 1
        self._phase_told = np.full((len(shape.passages), 2), -1, "i8")  # phase that was told, and when
        self._told = np.zeros(1, "i8")  # which list of rules without signals has been told
        self._maintenance = np.zeros(1, "i8")
        drives = [signal.point for signal in (*shape.gates, *shape.sluices)]
        order = drives, shape.gate_head, shape.sluice_head, shape.lights, shape.level_names
        self._signs = hashlib.sha256(repr(order).encode()).digest()[:8]  # a state of other signals is not ours

    def inputs(self, device: str, row: Row) -> list[Input]:
        known = np.where(row.quality == NOT_SCANNED, NAN, row.values)
        return [(row.t_ns, 0, int(row.scan == "live"), known)]

    def late_input(self, device: str, row: Row, vessel: str) -> list[Input]:
        """Of a server's history only what has the points of a live scan is one."""
        known = np.where(row.quality == NOT_SCANNED, NAN, row.values)
        return [(row.t_ns, 0, int(self._signals.in_scan(row)), known)]

    def tells(self, given: Input) -> bool:
        return not np.isnan(given[3]).all()

    def take(self, given: Input) -> Iterator[Output]:
        t_ns, _, live, values = given
        known = np.append(values, NAN)  # its last: not in the profile
        device = self._device
        if np.isfinite(known[self._energy]):
            self._energy_wh[0] = known[self._energy]
        if not live:
            return
        yield from self._list_rules(device, t_ns)
        self._signals.take(known)
        in_lockage = self._in_lockage()
        ended = [(i, lockage) for i, lockage in enumerate(self._lockages(t_ns)) if lockage is not None]
        in_lockage = max(in_lockage, self._in_lockage())
        yield from self._tell_phases(device, t_ns)
        yield from self._judge(device, t_ns, in_lockage)
        yield from self._trends.feed(t_ns, self._signals, self._rules["now_m"][0])
        for i, fields in ended:
            fields |= self._trends.of_lockage(i)
            tags = {"rev": "0"} | ({"point": self._chamber(i)} if len(self._shape.passages) > 1 else {})
            yield Output("lock_cycle", device, fields, int(fields["start_ns"]), tags)

    # Lockages.

    def _lockages(self, t_ns: int) -> Iterator[dict[str, wire.Value] | None]:
        signals = self._signals
        for i, (passage, state) in enumerate(zip(self._shape.passages, self._cycles, strict=True)):
            self._note_area(i, passage)
            first, last = passage.above[0], passage.below[-1]
            ended = lock_cycle.step(
                state, t_ns, signals.side(passage.above), signals.side(passage.below),
                signals.opening(passage.above), signals.opening(passage.below),
                *(float(signals.levels[k]) for k in (first, passage.level, last + 1)),
                signals.vessel, float(self._area_m2[i]), self._out,
            )  # fmt: skip
            yield self._fields(i) if ended else None

    def _tell_phases(self, device: str, t_ns: int) -> Iterator[Output]:
        """The phase of each chamber: when it changes, and now and then for who has just begun to look."""
        for i, state in enumerate(self._cycles):
            number = int(state["phase"][0])
            told, told_ns = self._phase_told[i]
            if number == told and t_ns - told_ns < PHASE_AGAIN_NS:
                continue
            self._phase_told[i] = number, t_ns
            phase = lock_cycle.PHASES[number]
            fields: dict[str, wire.Value] = {"phase": phase}
            began = f"{phase}_ns"
            if began in (lock_cycle.STATE.names or ()) and state[began][0] >= 0:
                fields["since_ns"] = int(state[began][0])
            yield Output(
                "lock_phase", device, fields, t_ns, {"point": self._chamber(i)} if len(self._cycles) > 1 else {}
            )

    def _note_area(self, i: int, passage: Passage) -> None:
        """The area of the chambers in use; an intermediate gate that is open joins them."""
        area_m2 = self._shape.areas_m2[passage.chamber]
        below = passage.below[:-1]
        for head in below:
            if self._signals.head_state(head) != lock_cycle.GATE_OPEN:
                break
            area_m2 += self._shape.areas_m2[head]
        for head in reversed(passage.above[1:]):
            if self._signals.head_state(head) != lock_cycle.GATE_OPEN:
                break
            area_m2 += self._shape.areas_m2[head - 1]
        if self._cycles[i]["phase"][0] in (lock_cycle.CLOSING, lock_cycle.LEVELLING):
            self._area_m2[i] = area_m2

    def _fields(self, i: int) -> dict[str, wire.Value]:
        """A lockage as fields, with its energy and what its lock has not shown."""
        found, told = self._out[0], int(self._cycles[i]["told"][0])
        fields = fields_of(found)
        fields["direction"] = DIRECTIONS[int(found["direction"])]
        if found["complete"] and found["vessel_seen"] >= 0:
            fields["false_lockage"] = int(found["vessel_seen"] == 0)
        fields["lacking"] = " ".join(name for bit, name in SHOWN if not told & bit)
        used_wh = self._energy_wh[0] - self._energy_wh[1 + i]
        if np.isfinite(used_wh) and used_wh >= 0 and len(self._cycles) == 1:
            fields["energy_wh"] = int(used_wh)
        self._energy_wh[1 + i] = self._energy_wh[0]
        return fields

    def _in_lockage(self) -> float:
        """1 in a lockage, also while an entry light is green; NaN where that is not known."""
        signals = self._signals
        entering = [
            light == lock_rules.LIGHT_GREEN
            for light, name in zip(signals.lights, self._shape.lights, strict=True) if name.endswith("_in")
        ]  # fmt: skip
        phases = [int(state["phase"][0]) for state in self._cycles]
        if any(entering) or any(lock_cycle.ENTRY <= p <= lock_cycle.EXIT for p in phases):
            return 1.0
        return NAN if lock_cycle.NOT_KNOWN in phases else 0.0

    # Incoherences.

    def _judge(self, device: str, t_ns: int, in_lockage: float) -> Iterator[Output]:
        signals, state = self._signals, self._rules
        lock_rules.step(
            state, self._shape.record, t_ns, signals.gates, signals.sluices, signals.lights, signals.levels,
            signals.mode, signals.heartbeat, in_lockage,
        )  # fmt: skip
        yield from self._tell_maintenance(device, t_ns)
        active, inhibited = int(state["active"][0]), int(state["inhibited"][0])
        if not active | inhibited | int(self._stories["began_ns"].any()):
            return
        for rule, name in enumerate(lock_rules.RULES):
            bit, story = 1 << rule, self._stories[rule]
            shown = bool((active | inhibited) & bit)
            if story["began_ns"] and bool(inhibited & bit) != bool(story["inhibited"]) and shown:
                yield self._end(device, t_ns, rule, name)  # maintenance began or ended meanwhile
            if shown and not story["began_ns"]:
                story["began_ns"], story["times"], story["inhibited"] = t_ns, 1, bool(inhibited & bit)
                story["quiet_ns"] = 0
                point, details = self._details(rule)
                yield event(device, f"lock_{name}", point, t_ns, active=1, **_mark(story), **details)
            elif shown and story["quiet_ns"]:
                story["quiet_ns"] = 0
                story["times"] += 1
            elif not shown and story["began_ns"]:
                story["quiet_ns"] = story["quiet_ns"] or t_ns
                if t_ns - story["quiet_ns"] >= QUIET_NS:
                    yield self._end(device, t_ns, rule, name)

    def _end(self, device: str, t_ns: int, rule: int, name: str) -> Output:
        story = self._stories[rule]
        lasted_s = ((story["quiet_ns"] or t_ns) - story["began_ns"]) / NS
        times, mark = int(story["times"]), _mark(story)
        self._stories[rule] = np.zeros(1, STORY)[0]
        point, details = self._details(rule)
        return event(
            device, f"lock_{name}", point, t_ns, active=0, lasted_s=float(lasted_s), times=times, **mark, **details
        )

    def _details(self, rule: int) -> tuple[str, dict[str, wire.Value]]:
        """The point of an incoherence, and which gate, sluice, light or level shows it."""
        shape, state = self._shape, self._rules[0]
        first, second = (int(k) for k in state["at"][rule])
        if rule in (lock_rules.SLUICE_OPPOSITE, lock_rules.SLUICE_CLOSING) and first >= 0 <= second:
            return shape.sluices[second].point, {"gate": shape.gates[first].id, "sluice": shape.sluices[second].id}
        if rule == lock_rules.HEAD_AT_OPENING and first >= 0:
            head_m = abs(float(state["now_m"][second] - state["now_m"][second + 1]))
            limit = float(shape.record["head_m"][0])
            return shape.gates[first].point, {"gate": shape.gates[first].id, "head_m": head_m, "limit": limit}
        if rule == lock_rules.GREEN and first >= 0 <= second:
            return f"light_{shape.lights[first]}", {"gate": shape.gates[second].id, "light": shape.lights[first]}
        if rule in (lock_rules.LEVEL_MOVES, lock_rules.LEVEL_STILL) and first >= 0:
            from_m = state["anchor_m"][first][0] if rule == lock_rules.LEVEL_MOVES else state["from_m"][first]
            moved_m = float(state["now_m"][first + 1] - from_m)
            details: dict[str, wire.Value] = {"chamber": str(first + 1), "value": moved_m}
            if rule == lock_rules.LEVEL_STILL:
                details["head"] = shape.heads[second].name
            return shape.level_names[first + 1] or "level_chamber_m", details
        if rule == lock_rules.MODE_CHANGE:
            return "mode", {"mode_before": first, "mode": second}
        if rule == lock_rules.HEARTBEAT:
            return "heartbeat", {"limit": float(shape.record["heartbeat_s"][0])}
        if rule == lock_rules.SLUICES_OPPOSITE:
            open_ = [s.id for s, v in zip(shape.sluices, self._signals.sluices, strict=True) if v > 0.0]
            return "sluices", {"sluice": " ".join(open_)}
        ajar = [g.id for g, v in zip(shape.gates, self._signals.gates, strict=True) if v > 0.0]
        return "gates", {"gate": " ".join(ajar)}

    def _tell_maintenance(self, device: str, t_ns: int) -> Iterator[Output]:
        """Rules are silent in maintenance: that is said when it begins and when it ends."""
        mode, wanted = int(self._rules["mode"][0]), self._shape.lock.maintenance_mode
        now = mode == wanted and wanted >= 0
        if now and not self._maintenance[0]:
            self._maintenance[0] = t_ns
            yield event(device, "lock_maintenance", "mode", t_ns, active=1, mode=mode)
        elif not now and self._maintenance[0] and mode >= 0:
            lasted_s = float(t_ns - self._maintenance[0]) / NS
            self._maintenance[0] = 0
            yield event(device, "lock_maintenance", "mode", t_ns, active=0, mode=mode, lasted_s=lasted_s)

    def _list_rules(self, device: str, t_ns: int) -> Iterator[Output]:
        """Say once which rules the signals cannot feed; again when the site file changes that."""
        if self._told[0] == self._unfed_mark:
            return
        self._told[0] = self._unfed_mark
        if self._unfed:
            rows = len(self._shape.not_evaluated)
            yield event(device, "lock_rules_not_evaluated", "rules", t_ns, rows=rows, text=self._unfed)

    def _chamber(self, i: int) -> str:
        return f"chamber-{self._shape.passages[i].chamber + 1}"

    # State.

    def _parts(self) -> list[NDArray[Any]]:
        return [
            self._told, self._phase_told, self._maintenance, self._energy_wh, self._area_m2, *self._cycles,
            self._rules, self._stories, *self._signals.parts(), *self._trends.parts(),
        ]  # fmt: skip

    def state(self) -> bytes:
        return self._signs + join(self._parts())

    def restore(self, state: bytes) -> None:
        if state.startswith(self._signs):
            split(self._parts(), state[len(self._signs) :])


def layout() -> list[str]:
    """What the bytes of a lock's state mean."""
    kinds = (lock_cycle.STATE, lock_rules.STATE, STORY, hydraulics.FLOW, hydraulics.LEAK, hydraulics.DRIVE)
    return ["phase_told", *(repr(kind.descr) for kind in (*kinds, hydraulics.DRIFT))]


def _mark(story: Any) -> dict[str, wire.Value]:
    return {"inhibited": 1} if story["inhibited"] else {}


def _places(points: Iterable[int | None]) -> NDArray[np.int64]:
    """Where points stand in a row; one behind the end for those that the profile does not have."""
    return np.array([-1 if point is None else point for point in points], np.int64)


def _by_end_switches(state: float) -> float:
    """A sluice's opening where its position is not known."""
    if state != state:
        return NAN
    return {lock_cycle.GATE_CLOSED: 0.0, lock_cycle.GATE_OPEN: 1.0}.get(int(state), MOVING_SLUICE)


def _as_one(states: list[float], both: int, ends: int) -> float:
    """One state of several: NaN if one is unknown, at an end when all are, else as the first that moves."""
    if not states or any(s != s for s in states):
        return NAN
    for end in (both, ends):
        if all(s == end for s in states):
            return float(end)
    moving = [s for s in states if s not in (lock_cycle.GATE_CLOSED, lock_cycle.GATE_OPEN)]
    return float(moving[0]) if moving else float(lock_cycle.GATE_STOPPED)
