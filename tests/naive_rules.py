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
