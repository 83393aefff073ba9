"""What only a load can show of a meter: direction, register against power, phases, and the charger beside it.

Pure: rows in, findings out. A finding names what was seen and what it means; the sentences are in `text/`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LEAST_LOAD_W = 1000.0
AGREE = 0.1  # register against integrated power, as the running checks have it (drivers/plausible.py)
STEPS = 20  # of the register; less is chance
CHARGER_LOW, CHARGER_HIGH = 0.8, 1.35  # meter over charger: losses and auxiliaries lie between
POWERS, SCALED = 6, 0.15  # of ten, and how near to one of them: losses lie between
PHASES = ("l1", "l2", "l3")
NS_PER_HOUR = 3.6e12
LONGEST_GAP_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """`good`: None where the time was too short, or nothing was there, to tell."""

    code: str
    good: bool | None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Series:
    """What came of a device: instants, and the values of a point at each; NaN where it was not known."""

    t_ns: list[int] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)

    def take(self, t_ns: int, values: Mapping[str, float]) -> None:
        self.t_ns.append(t_ns)
        self.rows.append(dict(values))

    def of(self, name: str) -> tuple[list[int], list[float]]:
        """Instants and values of a point where it was known."""
        known = [
            (t, value) for t, row in zip(self.t_ns, self.rows, strict=True)
            if (value := row.get(name)) is not None and math.isfinite(value)
        ]  # fmt: skip
        return [t for t, _ in known], [value for _, value in known]

    def last(self, name: str) -> float:
        return next((v for row in reversed(self.rows) if math.isfinite(v := row.get(name, math.nan))), math.nan)

    def median(self, name: str) -> float:
        values = self.of(name)[1]
        return float(np.median(values)) if values else math.nan


def findings(meter: Series, charger: Series | None, exports: bool, step_wh: float) -> Iterator[Finding]:
    """All that the time under load tells.

    Args:
        charger: Of the charging tower at the same berth; None where there is none.
        exports: Whether the meter's role is production: then its energy goes out.
        step_wh: What the register can tell apart. [Wh]
    """
    power_w = meter.median("power_w")
    charger_w = charger.median("power_w") if charger is not None else math.nan
    flows_w = max((abs(watts) for watts in (power_w, charger_w) if math.isfinite(watts)), default=0.0)
    if math.isnan(power_w) or flows_w < LEAST_LOAD_W:
        yield Finding("load", None, {"power_w": power_w, "least_w": LEAST_LOAD_W})
        return
    yield Finding("load", True, {"power_w": power_w, "least_w": LEAST_LOAD_W})
    yield _direction(meter, power_w, exports)
    yield _register(meter, step_wh)
    if charger is not None:
        yield _charger(power_w, charger_w)
    yield _phases(meter, power_w)


def _moved(meter: Series, name: str) -> float:
    values = meter.of(name)[1]
    return values[-1] - values[0] if len(values) > 1 else 0.0


def _direction(meter: Series, power_w: float, exports: bool) -> Finding:
    """Power and registers go the way that the meter's role says."""
    taken, given = _moved(meter, "energy_import_total_wh"), _moved(meter, "energy_export_total_wh")
    sign = -1.0 if exports else 1.0
    wrong = power_w * sign < 0 or (given > taken if not exports else taken > given)
    values = {"power_w": power_w, "import_wh": taken, "export_wh": given}
    return Finding("ct_reversed" if wrong else "direction", not wrong, values)


def _register(meter: Series, step_wh: float) -> Finding:
    """Register against the integral of power, over the same time."""
    t_net, net_wh = _net(meter)
    if len(net_wh) < 2:
        return Finding("register", None, {"step_wh": step_wh})
    t_ns, power_w = meter.of("power_w")
    made_wh, passed_wh = 0.0, 0.0
    for i in range(1, len(t_ns)):
        low, high = max(t_ns[i - 1], t_net[0]), min(t_ns[i], t_net[-1])
        step_ns = t_ns[i] - t_ns[i - 1]
        if 0 < step_ns <= LONGEST_GAP_S * 1e9 and high > low:
            part_wh = 0.5 * (power_w[i - 1] + power_w[i]) * (high - low) / NS_PER_HOUR
            made_wh, passed_wh = made_wh + part_wh, passed_wh + abs(part_wh)
    counted_wh = net_wh[-1] - net_wh[0]
    values = {"counted_wh": counted_wh, "made_wh": made_wh, "step_wh": step_wh}
    if passed_wh < STEPS * step_wh and abs(counted_wh) < STEPS * step_wh:
        return Finding("register", None, values)
    if abs(counted_wh - made_wh) <= AGREE * passed_wh + 3 * step_wh:
        return Finding("register", True, values)
    ratio = counted_wh / made_wh if made_wh else math.inf
    return Finding("register_scale", False, values | {"times": ratio})


def _net(meter: Series) -> tuple[list[int], list[float]]:
    t_ns, taken = meter.of("energy_import_total_wh")
    given = dict(zip(*meter.of("energy_export_total_wh"), strict=True))
    return t_ns, [value - given.get(t, 0.0) for t, value in zip(t_ns, taken, strict=True)]


def _charger(power_w: float, charger_w: float) -> Finding:
    """The meter counts what the tower gives, and a little more; a certain share of it tells what is wrong."""
    if math.isnan(charger_w) or abs(charger_w) < LEAST_LOAD_W:
        return Finding("charger", None, {"charger_w": charger_w})
    ratio = power_w / charger_w
    values = {"charger_w": charger_w, "power_w": power_w, "times": ratio}
    if CHARGER_LOW <= ratio <= CHARGER_HIGH:
        return Finding("charger", True, values)
    return Finding(_share(ratio) or "charger_differs", False, values)


def _share(ratio: float) -> str:
    """What is wrong with a meter that shows this share of the power of a load that is equal on three phases."""
    power = round(math.log10(abs(ratio))) if ratio else 0
    if 1 <= abs(power) <= POWERS and abs(abs(ratio) / 10.0**power - 1.0) <= SCALED:
        return "charger_scale"
    for code, low, high in (
        ("ct_reversed", -CHARGER_HIGH, -CHARGER_LOW), ("phases_rotated", -0.65, -0.4),
        ("phases_crossed", -0.1, 0.1), ("one_ct_reversed", 0.25, 0.45), ("one_phase_missing", 0.55, 0.75),
    ):  # fmt: skip
        if low <= ratio <= high:
            return code
    return ""


def _phases(meter: Series, power_w: float) -> Finding:
    """Each phase's power against its own voltage and current; without powers by phase, the total against all."""
    volts = [meter.last(f"voltage_{phase}_v") for phase in PHASES]
    amperes = [abs(meter.last(f"current_{phase}_a")) for phase in PHASES]
    apparent = [v * a for v, a in zip(volts, amperes, strict=True)]
    if not all(math.isfinite(va) and va > 0 for va in apparent):
        return Finding("phases", None)
    parts = [meter.last(f"power_{phase}_w") for phase in PHASES]
    if all(map(math.isfinite, parts)):
        return _by_phase([w / va for w, va in zip(parts, apparent, strict=True)])
    ratio = abs(power_w) / sum(apparent)
    code = {"phases_crossed": "phases_crossed", "one_ct_reversed": "one_ct_reversed"}.get(_share(ratio), "")
    return Finding(code or "phases", not code, {"times": ratio, "cosines": ""})


def _by_phase(cosines: Sequence[float]) -> Finding:
    """Currents of another phase are 120° off: cos φ of about -0.5. A transformer that is turned round gives -1."""
    shown = {"cosines": " / ".join(f"{cosine:+.2f}" for cosine in cosines), "times": sum(cosines) / 3}
    turned = [phase for phase, cosine in zip(PHASES, cosines, strict=True) if cosine < -0.8]
    off = [phase for phase, cosine in zip(PHASES, cosines, strict=True) if -0.8 <= cosine <= -0.2]
    if turned:
        code = "ct_reversed" if len(turned) == 3 else "one_ct_reversed"
        return Finding(code, False, shown | {"phase": " ".join(turned).upper()})
    if off:
        code = "phases_rotated" if len(off) == 3 else "phases_crossed"
        return Finding(code, False, shown | {"phase": " ".join(off).upper()})
    return Finding("phases", True, shown)
