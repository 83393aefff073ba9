"""The revenue meter of a simulated supply: its error, its transformers and wiring, and its registers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import hypot, pi, sin, sqrt

from firmware_sim.encode import Value
from firmware_sim.plant.noise import uniform, wobble

NS = 1_000_000_000
_SHARES = (0.3341, 0.3322, 0.3337)  # of the phases: they differ a little, as they do


@dataclass(frozen=True)
class MeterSpec:
    """A meter and how it is connected.

    Attributes:
        class_percent: Accuracy class, as in 0.2 for 0.2 S; its own error lies within two thirds of it.
        ct_ratio, vt_ratio: Of the instrument transformers; `secondary` registers are not multiplied by them.
        reversed_ct: Phases whose current transformer is the wrong way round, of 1, 2, 3.
        wiring: 3P4W, 3P3W (no neutral: voltages are between phases, two currents are measured) or DC.
        modulus_wh: Where a register goes over to 0; None for never.
    """

    class_percent: float = 0.2
    ct_ratio: float = 1.0
    vt_ratio: float = 1.0
    secondary: bool = False
    reversed_ct: tuple[int, ...] = ()
    wiring: str = "3P4W"
    frequency_hz: float = 50.0
    line_voltage_v: float = 20_000.0
    import_wh: int = 1_843_275_410
    export_wh: int = 12_040
    reactive_varh: int = 310_772_905
    modulus_wh: float | None = None


class RevenueMeter:
    """Counts what `energy_j` says flowed, with its own error.

    Args:
        power_w, reactive_var, voltage: Through it at an instant; voltage as a share of nominal, 0 in an outage.
        energy_j, reactive_js: Through it since the start. All take the time since the start. [ns]
    """

    def __init__(
        self,
        spec: MeterSpec,
        seed: int,
        power_w: Callable[[int], float],
        energy_j: Callable[[int], float],
        tangent: float,
        voltage: Callable[[int], float],
    ) -> None:
        self.spec = spec
        self._seed = seed
        self._power_w, self._energy_j, self._voltage = power_w, energy_j, voltage
        self._tangent = tangent
        self.error = spec.class_percent / 100.0 * (2.0 / 3.0) * (2.0 * uniform(seed, 60, 0) - 1.0)
        signs = [-1.0 if phase in spec.reversed_ct else 1.0 for phase in (1, 2, 3)]
        if spec.wiring == "3P3W":  # two systems; the third current transformer does not exist
            sign = 0.5 * (signs[0] + signs[2])
        elif spec.wiring == "DC":
            sign = signs[0]
        else:
            sign = sum(share * s for share, s in zip(_SHARES, signs, strict=True))
        self._signs = signs
        self._gain = (1.0 + self.error) * sign
        self._ratio = spec.ct_ratio * spec.vt_ratio if spec.secondary else 1.0

    def power_w(self, t_ns: int) -> float:
        """As it shows it, times the ratios."""
        return self._power_w(t_ns) * self._gain

    def counted_wh(self, t_ns: int) -> int:
        """What the import register would show if it never went over. [Wh]"""
        energy_wh = max(0.0, self._energy_j(t_ns) * self._gain / 3600.0)
        return self.spec.import_wh + int(energy_wh / self._ratio)

    def import_wh(self, t_ns: int) -> int:
        """The import register. [Wh]"""
        return self._over(self.counted_wh(t_ns))

    def _over(self, count_wh: int) -> int:
        modulus = self.spec.modulus_wh
        return count_wh if modulus is None else count_wh % int(modulus)

    def values(self, t_ns: int) -> dict[str, Value]:
        """Everything a meter shows, `t_ns` after the start."""
        spec, second = self.spec, t_ns // NS
        live = self._voltage(t_ns)
        power_w = self.power_w(t_ns) / self._ratio
        reactive_var = self._power_w(t_ns) * (1.0 + self.error) * self._tangent / self._ratio
        backward_wh = max(0.0, -self._energy_j(t_ns) * self._gain / 3600.0)
        reactive_varh = self._energy_j(t_ns) * self._tangent * (1.0 + self.error) / 3600.0 / self._ratio
        values: dict[str, Value] = {
            "power_w": power_w,
            "energy_import_total_wh": self.import_wh(t_ns),
            "energy_export_total_wh": self._over(spec.export_wh + int(backward_wh / self._ratio)),
        }
        vt, ct = (spec.vt_ratio, spec.ct_ratio) if spec.secondary else (1.0, 1.0)
        if spec.wiring == "DC":
            volt = spec.line_voltage_v * live * (1.0 + 0.0006 * wobble(self._seed, 1, second)) / vt
            amp = power_w / volt if volt > 0.0 else 0.0
            nothing = ("reactive_power_var", "reactive_import_total_varh", "frequency_hz", "power_factor")
            phases = ("voltage_l2_v", "voltage_l3_v", "current_l2_a", "current_l3_a")
            return values | dict.fromkeys((*nothing, *phases)) | {"voltage_l1_v": volt, "current_l1_a": amp}
        apparent_va = hypot(self._power_w(t_ns) / self._ratio, reactive_var)
        values |= {
            "reactive_power_var": reactive_var,
            "reactive_import_total_varh": spec.reactive_varh + int(reactive_varh),
            "frequency_hz": live
            * (
                spec.frequency_hz + 0.012 * sin(2 * pi * t_ns / (417 * NS)) + 0.004 * wobble(self._seed, 0, second)
            ),
            "power_factor": power_w / apparent_va if apparent_va > 0.0 else 1.0,
        }
        delta = spec.wiring == "3P3W"
        drop = 0.012 * min(1.0, abs(self._power_w(t_ns)) / 1e8)
        for phase, share in enumerate(_SHARES, 1):
            unevenness = 0.001 * (phase - 2) + 0.0006 * wobble(self._seed, phase, second)
            star_v = spec.line_voltage_v / sqrt(3.0) * (1.0 - drop + unevenness) * live
            amp = share * apparent_va * self._ratio / star_v if star_v > 0.0 else 0.0
            values[f"voltage_l{phase}_v"] = star_v * (sqrt(3.0) if delta else 1.0) / vt
            values[f"current_l{phase}_a"] = None if delta and phase == 2 else amp / ct
            if not delta:
                own_w = self._power_w(t_ns) * (1.0 + self.error) * share * self._signs[phase - 1] / self._ratio
                values |= {f"power_l{phase}_w": own_w, f"reactive_power_l{phase}_var": share * reactive_var}
        return values | {"apparent_power_va": apparent_va} | ({} if delta else line_voltages(values))


def line_voltages(values: Mapping[str, Value]) -> dict[str, Value]:
    """Voltages between phases, of the phase voltages that a meter shows. [V]"""
    star = [float(values[f"voltage_l{phase}_v"] or 0.0) for phase in (1, 2, 3)]
    return {
        f"voltage_l{a}{b}_v": sqrt(3.0) * (star[a - 1] + star[b - 1]) / 2.0 for a, b in ((1, 2), (2, 3), (3, 1))
    }
