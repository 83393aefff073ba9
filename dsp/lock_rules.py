"""What does not fit at a lock: rules over one scan's gates, sluices, lights and levels.

bollard informs; it is no safety function. A rule tells of signals that contradict each other or good practice,
one scan after they do; what only grows slowly (a leak) is a trend and belongs to `dsp.lock_hydraulics`.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
GRAVITY = 9.81
UNKNOWN = -1

RULES = (
    "sluice_opposite_open",  # a sluice of one head open while a gate of the opposite head is not closed
    "sluice_open_gate_closing",  # a sluice of the same head open while its gate closes
    "gates_opposite_open",  # no head separates the two reaches
    "head_at_opening",  # a gate opens although the levels on its sides differ
    "green_gate_not_open",
    "level_moves_closed",  # the chamber's level moves with everything closed, faster than a leak
    "level_still_sluice_open",
    "mode_change_in_lockage",
    "heartbeat_frozen",
    "sluices_opposite_open",  # water runs through the lock from reach to reach
)
(
    SLUICE_OPPOSITE, SLUICE_CLOSING, GATES_OPPOSITE, HEAD_AT_OPENING, GREEN, LEVEL_MOVES, LEVEL_STILL,
    MODE_CHANGE, HEARTBEAT, SLUICES_OPPOSITE,
) = range(len(RULES))  # fmt: skip
N_RULES = len(RULES)
NEVER_INHIBITED = (1 << MODE_CHANGE) | (1 << HEARTBEAT)

HEADS, GATES, SLUICES, LIGHTS = 4, 8, 16, 8  # most that a record holds; a chamber lies between two heads
GATE_CLOSED, GATE_OPENING, GATE_OPEN, GATE_CLOSING, GATE_STOPPED = range(5)
LIGHT_GREEN = 2
FALSE, TRUE, NOT_KNOWN = range(3)
JUMP_SCANS = 3  # a level that jumps is a spike for so many scans, then it is the level
BLIND_S = 30.0  # after a longer silence the water is looked at afresh

TOPOLOGY = np.dtype(
    [
        ("heads", "i8"),  # from upstream; head h lies between levels[h] and levels[h + 1]
        ("gates", "i8"),
        ("sluices", "i8"),
        ("lights", "i8"),
        ("gate_head", "i8", GATES),
        ("sluice_head", "i8", SLUICES),
        ("light_head", "i8", LIGHTS),
        ("sluice_m2", "f8", SLUICES),  # coefficient times opening; what surely flows, so rather too small
        ("chamber_m2", "f8", HEADS),
        ("sensor", "i8", HEADS + 1),  # 1 where levels[k] is measured; else it is that of the water it is open to
        ("enabled", "i8"),  # bit per rule
        ("apart", "i8"),  # bit per rule whose signals come from several requests: two scans must agree
        ("maintenance_mode", "i8"),
        ("sluice_shut", "f8"),  # an opening up to this is closed
        ("head_m", "f8"),  # largest difference of levels at which a gate may open
        ("moving_m", "f8"),  # by more than this within `window_s` a closed chamber moves
        ("window_s", "f8"),
        ("settle_s", "f8"),  # waves after the last movement of a gate or sluice
        ("still_m", "f8"),  # so much should have come through; under `still_share` of it is still
        ("still_share", "f8"),
        ("jump_m", "f8"),  # a level that changes by more from scan to scan is a spike first
        ("heartbeat_s", "f8"),
    ]
)

STATE = np.dtype(
    [
        ("t_ns", "i8"),
        ("active", "i8"),  # bit per rule, as all masks here
        ("raised", "i8"),  # became active with this scan
        ("cleared", "i8"),
        ("inhibited", "i8"),  # would be active, but for maintenance
        ("unknown", "i8"),  # signals of this scan did not suffice
        ("pending", "i8", N_RULES),  # scans in a row that agreed
        ("at", "i8", (N_RULES, 2)),  # which: (gate, sluice), (light, head), chamber ...; -1 none
        ("gate", "f8", GATES),
        ("mode", "i8"),
        ("heartbeat", "f8"),
        ("beat_ns", "i8"),
        ("level_m", "f8", HEADS + 1),  # last believed
        ("jumps", "i8", HEADS + 1),
        ("now_m", "f8", HEADS + 1),  # of this scan: spikes left out, chambers without a sensor filled in
        ("pool", "i8", HEADS),  # last chamber that this one is one water with, through open gates
        ("closed_ns", "i8", HEADS),  # per chamber: everything closed since
        ("anchor_m", "f8", (HEADS, 2)),  # older and newer
        ("anchor_ns", "i8", (HEADS, 2)),
        ("due_m", "f8", HEADS),  # what should have come through the sluices since ...
        ("from_m", "f8", HEADS),  # ... the level stood here
        ("due_head", "i8", HEADS),
    ]
)


def init() -> NDArray[Any]:
    """State of a lock that has not been seen yet."""
    state = np.zeros(1, STATE)
    for name in ("t_ns", "mode", "at", "beat_ns", "pool", "closed_ns", "anchor_ns", "due_head"):
        state[name] = UNKNOWN
    for name in ("gate", "heartbeat", "level_m", "now_m", "anchor_m", "from_m"):
        state[name] = np.nan
    return state


@njit(cache=True, nogil=True)
def step(
    state: NDArray[Any],
    topology: NDArray[Any],
    t_ns: int,
    gates: NDArray[np.float64],
    sluices: NDArray[np.float64],
    lights: NDArray[np.float64],
    levels: NDArray[np.float64],
    mode: float,
    heartbeat: float,
    in_lockage: float,
) -> int:
    """Judge one scan. `state["active"]`, `"raised"`, `"cleared"`, `"inhibited"`, `"unknown"` are bit masks.

    A rule becomes active with the scan that shows it, or with the second in a row where its signals come from
    several requests; it stays so until its signals say otherwise. NaN is unknown: a rule that needs it is left
    as it was, and named in `"unknown"`. In maintenance mode rules only show in `"inhibited"`.

    Args:
        state: From `init`. STATE[1]
        topology: From `dsp.lock_topology.pack`. TOPOLOGY[1]
        t_ns: Time of the scan; one that does not go forward is ignored. [ns, UTC]
        gates: 0 closed, 1 opening, 2 open, 3 closing, 4 stopped. float64[gates]
        sluices: Opening, 0 .. 1. float64[sluices]
        lights: 0 red, 1 red and green, 2 green. float64[lights]
        levels: Upstream, chambers, downstream above one datum. float64[heads + 1] [m]
        mode: Code of the operating mode.
        heartbeat: Counter that the PLC moves.
        in_lockage: 1 during a lockage (`dsp.lock_cycle`), 0 at rest.

    Returns: the mask of rules that became active.
    Source: incoherences of the project's domain notes, section D.4.
    """
    s, p = state[0], topology[0]
    s.raised = s.cleared = 0
    if t_ns <= s.t_ns:
        return 0
    step_s = (t_ns - s.t_ns) / NS_PER_S if s.t_ns >= 0 else 0.0
    if step_s > BLIND_S:
        s.closed_ns[:] = UNKNOWN
        s.due_head[:] = UNKNOWN
    _believe(s, p, levels)
    _fill_in(s, p, gates)
    verdicts = _shapes(s, p, gates, sluices, lights)  # two bits a rule
    verdicts |= _head(s, p, gates) << (2 * HEAD_AT_OPENING)
    moves, still = _water(s, p, t_ns, step_s, gates, sluices)
    verdicts |= (moves << (2 * LEVEL_MOVES)) | (still << (2 * LEVEL_STILL))
    verdicts |= _mode(s, mode, in_lockage) << (2 * MODE_CHANGE)
    verdicts |= _beat(s, p, t_ns, heartbeat) << (2 * HEARTBEAT)
    for g in range(p.gates):
        if math.isfinite(gates[g]):
            s.gate[g] = gates[g]
    s.t_ns = t_ns
    _decide(s, p, verdicts)
    return int(s.raised)


@njit(cache=True, nogil=True)
def run(
    state: NDArray[Any],
    topology: NDArray[Any],
    t_ns: NDArray[np.int64],
    gates: NDArray[np.float64],
    sluices: NDArray[np.float64],
    lights: NDArray[np.float64],
    levels: NDArray[np.float64],
    mode: NDArray[np.float64],
    heartbeat: NDArray[np.float64],
    in_lockage: NDArray[np.float64],
    raised: NDArray[np.int64],
) -> int:
    """`step` over a whole recording, one row a scan; `raised[i]` gets its mask. Returns: alarms in all."""
    n: int = 0
    for i in range(t_ns.shape[0]):
        found = step(
            state, topology, t_ns[i], gates[i], sluices[i], lights[i], levels[i], mode[i], heartbeat[i],
            in_lockage[i],
        )  # fmt: skip
        raised[i] = found
        while found:
            n += found & 1
            found >>= 1
    return n


@njit(cache=True, nogil=True)
def _decide(s: Any, p: Any, verdicts: int) -> None:
    """From this scan's verdicts to what is active: two scans, maintenance, rules switched off."""
    inhibit = 0 if s.mode != p.maintenance_mode or p.maintenance_mode < 0 else ~NEVER_INHIBITED
    s.unknown = s.inhibited = 0
    for rule in range(N_RULES):
        bit = 1 << rule
        if not p.enabled & bit:
            continue
        verdict = (verdicts >> (2 * rule)) & 3
        if verdict == NOT_KNOWN:
            s.unknown |= bit
        elif verdict == FALSE:
            s.pending[rule] = 0
        else:
            s.pending[rule] += 1
        shown = s.pending[rule] >= (2 if p.apart & bit else 1)
        if shown and inhibit & bit:
            s.inhibited |= bit
            shown = False
        if shown and not s.active & bit:
            s.active |= bit
            s.raised |= bit
        elif not shown and s.active & bit:
            s.active &= ~bit
            s.cleared |= bit


@njit(cache=True, nogil=True)
def _shapes(s: Any, p: Any, gates: Any, sluices: Any, lights: Any) -> int:
    """Rules over open and closed alone. Bit masks of heads, once as is known, once as is possible."""
    ajar, ajar_maybe, open_, open_maybe = 0, 0, 0, 0  # gates not closed; sluices open
    closing, closing_maybe, not_open, not_open_maybe = 0, 0, 0, 0  # gates
    green, green_maybe = 0, 0
    for g in range(p.gates):
        bit = 1 << p.gate_head[g]
        gate = gates[g]
        if gate > GATE_CLOSED:
            ajar |= bit
        if gate == GATE_CLOSING:
            closing |= bit
        if math.isnan(gate):
            ajar_maybe |= bit
            closing_maybe |= bit
            not_open_maybe |= bit
        elif gate != GATE_OPEN:
            not_open |= bit
    for k in range(p.sluices):
        if sluices[k] > p.sluice_shut:
            open_ |= 1 << p.sluice_head[k]
        elif math.isnan(sluices[k]):
            open_maybe |= 1 << p.sluice_head[k]
    for n in range(p.lights):
        if lights[n] == LIGHT_GREEN:
            green |= 1 << p.light_head[n]
        elif math.isnan(lights[n]):
            green_maybe |= 1 << p.light_head[n]
    ajar_maybe |= ajar
    open_maybe |= open_
    full = (1 << p.heads) - 1
    shown = _verdict(
        (ajar | open_) == full and ajar != 0 and open_ != 0,
        (ajar_maybe | open_maybe) == full and ajar_maybe != 0 and open_maybe != 0,
    ) << (2 * SLUICE_OPPOSITE)
    shown |= _verdict(
        closing & open_ != 0, (closing | closing_maybe) & open_maybe != 0
    ) << (2 * SLUICE_CLOSING)  # fmt: skip
    shown |= _verdict(ajar == full, ajar_maybe == full) << (2 * GATES_OPPOSITE)
    shown |= _verdict(
        green & not_open != 0, (green | green_maybe) & (not_open | not_open_maybe) != 0
    ) << (2 * GREEN)  # fmt: skip
    shown |= _verdict(open_ == full and ajar_maybe == 0, open_maybe == full and ajar == 0) << (
        2 * SLUICES_OPPOSITE
    )
    for rule in (SLUICE_OPPOSITE, SLUICE_CLOSING, GATES_OPPOSITE, GREEN, SLUICES_OPPOSITE):
        if (shown >> (2 * rule)) & 3 == TRUE and s.pending[rule] == 0:
            _name(s, p, rule, gates, sluices, lights)
    return int(shown)


@njit(cache=True, nogil=True)
def _verdict(known: bool, possible: bool) -> int:
    return TRUE if known else (NOT_KNOWN if possible else FALSE)


@njit(cache=True, nogil=True)
def _name(s: Any, p: Any, rule: int, gates: Any, sluices: Any, lights: Any) -> None:
    """Which gate and sluice (or light and gate) show a rule: the first that do."""
    s.at[rule, 0] = s.at[rule, 1] = UNKNOWN
    if rule == GREEN:
        for n in range(p.lights):
            for g in range(p.gates):
                if lights[n] == LIGHT_GREEN and p.gate_head[g] == p.light_head[n] and gates[g] != GATE_OPEN:
                    s.at[rule, 0], s.at[rule, 1] = n, g
                    return
    for g in range(p.gates):
        for k in range(p.sluices):
            same = p.gate_head[g] == p.sluice_head[k]
            flows = sluices[k] > p.sluice_shut
            if rule == SLUICE_CLOSING and same and flows and gates[g] == GATE_CLOSING:
                s.at[rule, 0], s.at[rule, 1] = g, k
                return
            if rule == SLUICE_OPPOSITE and not same and flows and gates[g] > GATE_CLOSED:
                s.at[rule, 0], s.at[rule, 1] = g, k
                return


@njit(cache=True, nogil=True)
def _believe(s: Any, p: Any, levels: Any) -> None:
    """Keep spikes out: a level that jumps is unknown until it stays."""
    for k in range(p.heads + 1):
        level_m = levels[k]
        if math.isnan(level_m):
            s.level_m[k] = math.nan
            s.jumps[k] = 0
            continue
        if s.jumps[k] >= 0 and abs(level_m - s.level_m[k]) > p.jump_m and s.jumps[k] < JUMP_SCANS:
            s.jumps[k] += 1
        else:
            s.level_m[k] = level_m
            s.jumps[k] = 0


@njit(cache=True, nogil=True)
def _fill_in(s: Any, p: Any, gates: Any) -> None:
    """The levels of this scan: NaN while one is a spike; without a sensor, that of the water it is open to."""
    for k in range(p.heads + 1):
        s.now_m[k] = math.nan if s.jumps[k] > 0 or p.sensor[k] == 0 else s.level_m[k]
    for _ in range(p.heads - 1):  # through a chain of open gates
        for c in range(1, p.heads):
            if p.sensor[c] == 0 and math.isnan(s.now_m[c]):
                if _stands_open(p, gates, c):
                    s.now_m[c] = s.now_m[c + 1]
                if math.isnan(s.now_m[c]) and _stands_open(p, gates, c - 1):
                    s.now_m[c] = s.now_m[c - 1]


@njit(cache=True, nogil=True)
def _stands_open(p: Any, gates: Any, head: int) -> bool:
    """All gates of a head are open: there is one water on both its sides."""
    found = False
    for g in range(p.gates):
        if p.gate_head[g] == head:
            if gates[g] != GATE_OPEN:
                return False
            found = True
    return found


@njit(cache=True, nogil=True)
def _head(s: Any, p: Any, gates: Any) -> int:
    verdict = FALSE
    for g in range(p.gates):
        started = s.gate[g] == GATE_CLOSED and gates[g] > GATE_CLOSED
        if started or gates[g] == GATE_OPENING:
            h = p.gate_head[g]
            difference_m = abs(s.now_m[h] - s.now_m[h + 1])
            if difference_m > p.head_m:
                s.at[HEAD_AT_OPENING, 0], s.at[HEAD_AT_OPENING, 1] = g, h
                return TRUE
            if math.isnan(difference_m):
                verdict = NOT_KNOWN
        elif math.isnan(gates[g]):
            verdict = NOT_KNOWN
    return verdict


@njit(cache=True, nogil=True)
def _water(s: Any, p: Any, t_ns: int, step_s: float, gates: Any, sluices: Any) -> tuple[int, int]:
    """Water by water: does it move with all closed, or stand still with a sluice open?

    Chambers that an open gate joins are one water, kept under the number of the first of them.
    """
    moves, still = FALSE, FALSE
    c = 0
    while c < p.heads - 1:
        last = c
        while last < p.heads - 2 and _stands_open(p, gates, last + 1):
            last += 1
            s.closed_ns[last] = s.due_head[last] = s.pool[last] = UNKNOWN
        if s.pool[c] != last:
            s.closed_ns[c] = s.due_head[c] = UNKNOWN
            s.pool[c] = last
        level_m, area_m2 = math.nan, 0.0
        for k in range(c, last + 1):
            area_m2 += p.chamber_m2[k]
            level_m = s.now_m[k + 1] if math.isnan(level_m) else level_m
        gates_closed, known = True, True
        for g in range(p.gates):
            if p.gate_head[g] == c or p.gate_head[g] == last + 1:
                known = known and not math.isnan(gates[g])
                gates_closed = gates_closed and gates[g] == GATE_CLOSED
        flow_m2, through, open_sides = 0.0, UNKNOWN, 0
        for h in (c, last + 1):
            flow_before = flow_m2
            for k in range(p.sluices):
                if p.sluice_head[k] == h:
                    known = known and not math.isnan(sluices[k])
                    if sluices[k] > p.sluice_shut:
                        flow_m2 += p.sluice_m2[k] * sluices[k]
                        open_sides = open_sides | (1 if h == c else 2)
            if flow_m2 > flow_before:
                through = h
        if not known:
            s.closed_ns[c] = s.due_head[c] = UNKNOWN
            moves = NOT_KNOWN if moves == FALSE else moves
            still = NOT_KNOWN if still == FALSE else still
            c = last + 1
            continue
        if gates_closed and open_sides == 0:
            found = _closed(s, p, c, t_ns, level_m)
            moves = found if moves != TRUE else moves
        else:
            s.closed_ns[c] = UNKNOWN
        if gates_closed and through >= 0 and open_sides != 3:
            other_m = s.now_m[c] if through == c else s.now_m[last + 2]
            found = _flows(s, p, c, step_s, level_m, other_m, area_m2, through, flow_m2)
            still = found if still != TRUE else still
        else:
            s.due_head[c] = UNKNOWN
        c = last + 1
    return moves, still


@njit(cache=True, nogil=True)
def _closed(s: Any, p: Any, c: int, t_ns: int, level_m: float) -> int:
    """The chamber's level against one that is half a window to a window old."""
    if s.closed_ns[c] < 0:
        s.closed_ns[c] = t_ns
        s.anchor_ns[c, 0] = s.anchor_ns[c, 1] = UNKNOWN
    if t_ns - s.closed_ns[c] < p.settle_s * NS_PER_S:
        return FALSE
    if math.isnan(level_m):
        return NOT_KNOWN
    if s.anchor_ns[c, 0] < 0:
        s.anchor_ns[c, 0] = s.anchor_ns[c, 1] = t_ns
        s.anchor_m[c, 0] = s.anchor_m[c, 1] = level_m
    moved_m = level_m - s.anchor_m[c, 0]
    if t_ns - s.anchor_ns[c, 1] >= 0.5 * p.window_s * NS_PER_S:
        s.anchor_ns[c, 0], s.anchor_m[c, 0] = s.anchor_ns[c, 1], s.anchor_m[c, 1]
        s.anchor_ns[c, 1], s.anchor_m[c, 1] = t_ns, level_m
    if abs(moved_m) > p.moving_m:
        s.at[LEVEL_MOVES, 0] = c
        return TRUE
    return FALSE


@njit(cache=True, nogil=True)
def _flows(
    s: Any, p: Any, c: int, step_s: float, level_m: float, other_m: float, area_m2: float, head: int,
    flow_m2: float,
) -> int:  # fmt: skip
    """What a sluice should have let through (c w sqrt(2 g h) dt = A dz, domain notes D.5), and what came."""
    if math.isnan(level_m) or math.isnan(other_m) or not area_m2 > 0.0:
        return NOT_KNOWN
    if s.due_head[c] != head:
        s.due_head[c], s.due_m[c], s.from_m[c] = head, 0.0, level_m
        return FALSE
    head_m = abs(other_m - level_m)
    if head_m > p.head_m:  # below, noise and offsets of the sensors would count as head
        s.due_m[c] += flow_m2 * math.sqrt(2.0 * GRAVITY * head_m) / area_m2 * step_s
    if s.due_m[c] < p.still_m:
        return FALSE
    if abs(level_m - s.from_m[c]) < p.still_share * s.due_m[c]:
        s.at[LEVEL_STILL, 0], s.at[LEVEL_STILL, 1] = c, head
        return TRUE
    s.due_m[c], s.from_m[c] = 0.0, level_m  # it flows; look afresh from here
    return FALSE


@njit(cache=True, nogil=True)
def _mode(s: Any, mode: float, in_lockage: float) -> int:
    if math.isnan(mode):
        return NOT_KNOWN
    before, s.mode = s.mode, int(mode)
    if before < 0 or before == s.mode:
        return FALSE
    s.at[MODE_CHANGE, 0], s.at[MODE_CHANGE, 1] = before, s.mode
    return NOT_KNOWN if math.isnan(in_lockage) else (TRUE if in_lockage >= 0.5 else FALSE)


@njit(cache=True, nogil=True)
def _beat(s: Any, p: Any, t_ns: int, heartbeat: float) -> int:
    if math.isnan(heartbeat):
        return NOT_KNOWN
    if heartbeat != s.heartbeat:
        s.heartbeat, s.beat_ns = heartbeat, t_ns
    return TRUE if t_ns - s.beat_ns > p.heartbeat_s * NS_PER_S else FALSE
