"""What each rule of `dsp.lock_rules` means, from a whole history of scans; slow, and written from the words."""

import itertools
import math
from typing import Any

S = 1_000_000_000
NAMES = (
    "sluice_opposite_open", "sluice_open_gate_closing", "gates_opposite_open", "head_at_opening",
    "green_gate_not_open", "level_moves_closed", "level_still_sluice_open", "mode_change_in_lockage",
    "heartbeat_frozen", "sluices_opposite_open",
)  # fmt: skip


def truth(statement: Any, signals: list[Any], choices: list[Any]) -> bool | None:
    """True or False if it is so whatever the unknown signals (None) are; else None."""
    options = [choices if signal is None else [signal] for signal in signals]
    answers = {bool(statement(*values)) for values in itertools.product(*options)}
    return answers.pop() if len(answers) == 1 else None


def through(
    gate_head: list[int], gates: list[int], sluice_head: list[int], sluices: list[bool], heads: int
) -> Any:
    """Heads with a gate not closed, heads with an open sluice, and whether water runs from reach to reach."""
    ajar = {h for h, g in zip(gate_head, gates, strict=True) if g != 0}
    flowing = {h for h, o in zip(sluice_head, sluices, strict=True) if o}
    return ajar, flowing, ajar | flowing == set(range(heads))


def shapes(
    gate_head: list[int],
    sluice_head: list[int],
    light_head: list[int],
    heads: int,
    gates: list[Any],
    sluices: list[Any],
    lights: list[Any],
) -> dict[str, bool | None]:
    """Rules of one scan over states alone. Gates 0..4, sluices open or not, lights green or not; None unknown."""
    ng = len(gates)

    def over(statement: Any) -> bool | None:
        """Try every state of every unknown signal."""
        options = [[0, 1, 2, 3, 4] if g is None else [g] for g in gates]
        options += [[False, True] if o is None else [o] for o in sluices]
        answers = {statement(list(v[:ng]), list(v[ng:])) for v in itertools.product(*options)}
        return answers.pop() if len(answers) == 1 else None

    def opposite_sluice(g: list[int], o: list[bool]) -> bool:
        ajar, flowing, runs = through(gate_head, g, sluice_head, o, heads)
        return runs and any(i != j for i in ajar for j in flowing)

    def closing(g: list[int], o: list[bool]) -> bool:
        return any(
            state == 3 and is_open and h == k
            for state, h in zip(g, gate_head, strict=True)
            for is_open, k in zip(o, sluice_head, strict=True)
        )

    def opposite_gates(g: list[int], o: list[bool]) -> bool:
        return through(gate_head, g, sluice_head, o, heads)[0] == set(range(heads))

    def opposite_sluices(g: list[int], o: list[bool]) -> bool:
        ajar, flowing, _ = through(gate_head, g, sluice_head, o, heads)
        return not ajar and flowing == set(range(heads))

    green = []
    for light, h in zip(lights, light_head, strict=True):
        for gate, k in zip(gates, gate_head, strict=True):
            if h == k:
                is_green, shut = light, None if gate is None else gate != 2
                green.append(
                    False if is_green is False or shut is False else (None if None in (is_green, shut) else True)
                )
    return {
        "sluice_opposite_open": over(opposite_sluice),
        "sluice_open_gate_closing": over(closing),
        "gates_opposite_open": over(opposite_gates),
        "sluices_opposite_open": over(opposite_sluices),
        "green_gate_not_open": True if True in green else (None if None in green else False),
    }


def scans_that_raise(verdicts: list[bool | None], apart: bool, inhibited: list[bool]) -> list[int]:
    """Scans at which a rule becomes active: at once, or when two scans in a row (unknown ones aside) agree."""
    found, was = [], False
    for i in range(len(verdicts)):
        known = [v for v in verdicts[: i + 1] if v is not None]
        need = 2 if apart else 1
        active = len(known) >= need and all(known[-need:]) and not inhibited[i]
        if active and not was:
            found.append(i)
        was = active
    return found


def should_have_come_m(
    levels: list[tuple[float, float]], flow_m2: list[float], area_m2: float, head_m: float
) -> list[float]:
    """Level that the sluices owe after each second, from (reach, chamber) levels. [m]"""
    due, out = 0.0, []
    for (reach, chamber), m2 in zip(levels, flow_m2, strict=True):
        head = abs(reach - chamber)
        due += m2 * math.sqrt(2 * 9.81 * head) / area_m2 if head > head_m else 0.0
        out.append(due)
    return out


def head_at_opening(before: float, now: float, head_m: float, limit_m: float) -> bool:
    """A gate leaves its closed end, or opens, with more than so much across it."""
    return ((before == 0 and now > 0) or now == 1) and head_m > limit_m


def level_moves_closed(
    levels: list[float], closed: list[bool], settle: int, half: int, moving_m: float
) -> list[bool]:
    """Scans, one a second, at which a closed chamber has moved: against the level half a window to a window ago.

    Half windows are counted from `settle` scans after everything closed; the level at the start of the half
    window before the present one is the reference, in the first two that of the very first scan.
    """
    found, since = [], 0
    for i, level in enumerate(levels):
        since = since + 1 if closed[i] else 0
        stood = since - 1 - settle  # scans since the look began
        if since == 0 or stood < 0:
            found.append(False)
            continue
        number = max(0, (stood - 1) // half - 1) if stood else 0
        reference = levels[i - stood + number * half]
        found.append(abs(level - reference) > moving_m)
    return found


def mode_changes(modes: list[int], in_lockage: list[bool]) -> list[int]:
    """Scans at which the mode is another one than before, in a lockage."""
    return [i for i in range(1, len(modes)) if modes[i] != modes[i - 1] and in_lockage[i]]


def heartbeat_stands(beats: list[float], seconds: list[float], limit_s: float) -> list[bool]:
    """Scans at which the heartbeat has been what it is for longer than the limit."""
    found, since = [], 0
    for i, beat in enumerate(beats):
        since = i if i == 0 or beat != beats[i - 1] else since
        found.append(seconds[i] - seconds[since] > limit_s)
    return found
