"""Whether a meter's registers mean what its profile says: checked on what is measured, until it has passed.

A wrong profile, a wrong word order or a wrong scale gives numbers that look like measurements. Physics tells:
phases add up to the total, √3 lies between phase and line voltages, the grid has its frequency, energy is the
integral of power. Until that has been seen, values are kept and used, with quality UNPROVEN.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from drivers.profile import Point, Profile
from drivers.row import Quality, Row

Wiring = Literal["3P4W", "3P3W", "DC"]
PASSES = 5  # rows in a row: one may be a coincidence, and a start-up has odd ones
FAILURES = 10  # rows in a row: power that changes between two requests is no wrong profile
ENERGISED_V = 10.0  # below it nothing is connected; secondary voltages are 57 V and more
FREQUENCY_BAND_HZ = 1.0
BALANCE = 0.02  # of the power that flows
LINE_VOLTAGE = 0.03  # of √3 times the phase voltage; an asymmetry of 5 % moves it by less than 1 %
POWER_FACTOR = 0.05  # meters differ in how they define apparent power
APPARENT = 0.1  # for the same reason; a wrong scale is ten times off
ENERGY = 0.1  # of the energy that the power makes
ENERGY_STEPS = 50  # of the register, so that its step is 2 % of what is compared
ENERGY_ROWS = 20  # of power, so that what lies between register and power does not count
LONGEST_STEP_S = 60.0  # between samples further apart a load comes and goes unseen
_GOOD, _UNPROVEN = int(Quality.GOOD), int(Quality.UNPROVEN)  # a look-up of a member takes longer than a check
_OUT_OF_RANGE = int(Quality.OUT_OF_RANGE)
TINIEST = 1e-30  # a float with swapped words is smaller; a physical value never is
NS_PER_HOUR = 3.6e12
PHASES = ("l1", "l2", "l3")
LINES = {"l12": ("l1", "l2"), "l23": ("l2", "l3"), "l31": ("l3", "l1")}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw: a value, and where it should lie.

    Attributes:
        check: `range`, `word_order`, `frequency`, `balance`, `line_voltage`, `apparent`, `power_factor`,
            `dc_power` or `energy`.
        point: The point it speaks of.
    """

    check: str
    point: str
    value: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        return self.low <= self.value <= self.high


class Plausible:
    """The checks of one meter. Electrical values and energy counters are proven apart.

    A counter needs a load to be proven, which may take until the first ship comes. What a profile gives no
    means to check (a meter without frequency, phases and power factor) is not held back.

    Args:
        wiring: 3P3W has no phase voltages and powers, DC neither frequency nor power factor.
        nominal_hz: 50, 60, or 0 where the frequency is not to be checked. [Hz]
        interval_s: Between two samples of power; from a minute on it cannot be integrated. [s]
    """

    def __init__(self, profile: Profile, wiring: Wiring, nominal_hz: float, interval_s: float = 1.0) -> None:
        self._points, self._index = profile.points, profile.index
        self._wiring: Wiring = wiring
        self._nominal_hz = nominal_hz
        counters = np.array([p.name.endswith(("_total_wh", "_total_varh")) for p in profile.points])
        self._bounded = np.array([not p.name.startswith("power_factor") for p in profile.points])  # 2: no load
        self._floats = [p.name for p in profile.points if p.type.startswith("float")]
        self._members = {"electrical": ~counters, "energy": counters}
        self._energy = _EnergyWindow(profile)
        self.proven: set[str] = set()
        if not self._can_check():
            self.proven.add("electrical")
        if not self._energy.can_check or interval_s > LONGEST_STEP_S:
            self.proven.add("energy")
        self._passes = 0
        self._failures: dict[str, int] = {}
        self._told: set[str] = set()

    def findings(self, row: Row) -> list[Finding]:
        """Every check that this row allows, passed or not. Proves nothing and changes nothing."""
        values = self._known(row)
        return [*self._unreadable(row, values), *(self._physics(values) if _energised(values) else ())]

    def _known(self, row: Row) -> dict[str, float]:
        values = row.values.tolist()
        return {name: values[i] for name, i in self._index.items() if values[i] == values[i]}

    def judge(self, row: Row) -> list[Finding]:
        """Mark what is not proven yet, in place.

        Returns: failures that are worth telling a person; each check tells once.
        """
        if len(self.proven) == len(self._members):
            return []
        values = self._known(row)
        told: list[Finding] = []
        if row.scan == "live" and "electrical" not in self.proven:
            told += self._judge_electrical(row, values)
        if "energy" not in self.proven and (finding := self._energy.feed(row.t_ns, values)) is not None:
            if finding.passed:
                self.proven.add("energy")
            told += self._failed(finding, at=3)
        self.mark(row)
        return told

    def mark(self, row: Row) -> None:
        """Mark what is not proven yet, in place, and learn nothing from the row: it may be one of the past."""
        for group, members in self._members.items():
            if group not in self.proven:
                row.quality[members & (row.quality == _GOOD)] = _UNPROVEN

    def _judge_electrical(self, row: Row, values: Mapping[str, float]) -> list[Finding]:
        findings = [*self._unreadable(row, values)]
        if _energised(values):
            findings += self._physics(values)
        if not findings:  # nothing is connected: neither proof nor doubt
            return []
        failed = [finding for finding in findings if not finding.passed]
        self._passes = 0 if failed else self._passes + 1
        if self._passes >= PASSES:
            self.proven.add("electrical")
        for check in self._failures.keys() - {finding.check for finding in failed} - {"energy"}:
            self._failures[check] = 0
        return [told for finding in failed for told in self._failed(finding, at=FAILURES)]

    def _failed(self, finding: Finding, at: int) -> Iterator[Finding]:
        count = 0 if finding.passed else self._failures.get(finding.check, 0) + 1
        self._failures[finding.check] = count
        if count >= at and finding.check not in self._told:
            self._told.add(finding.check)
            yield finding

    def _unreadable(self, row: Row, values: Mapping[str, float]) -> Iterator[Finding]:
        """What no connection state explains: numbers out of the range, or the trace of swapped words."""
        if _OUT_OF_RANGE in row.quality.tolist():
            for i in np.flatnonzero(self._bounded & (row.quality == _OUT_OF_RANGE)):
                low, high = self._points[i].range or (-np.inf, np.inf)
                yield Finding("range", self._points[i].name, np.nan, low, high)
        for name in self._floats:
            if name in values and 0 < abs(values[name]) < TINIEST:
                yield Finding("word_order", name, values[name], TINIEST, np.inf)

    def _physics(self, values: Mapping[str, float]) -> Iterator[Finding]:
        if self._wiring == "DC":
            yield from self._dc_power(values)
            return
        hz = values.get("frequency_hz")
        if self._nominal_hz and hz is not None:
            low, high = self._nominal_hz - FREQUENCY_BAND_HZ, self._nominal_hz + FREQUENCY_BAND_HZ
            yield Finding("frequency", "frequency_hz", hz, low, high)
        if self._wiring == "3P4W":
            yield from self._balance(values)
            yield from self._line_voltages(values)
        yield from self._power_factor(values)

    def _balance(self, values: Mapping[str, float]) -> Iterator[Finding]:
        """ΣP of the phases against the total."""
        parts = [values.get(f"power_{phase}_w") for phase in PHASES]
        total = values.get("power_w")
        known = [part for part in parts if part is not None]
        if total is None or len(known) < 3:
            return
        flows = max(abs(total), sum(map(abs, known)))
        allowed = BALANCE * flows + 2 * self._step("power_w") + 1.0
        yield Finding("balance", "power_w", total, sum(known) - allowed, sum(known) + allowed)

    def _line_voltages(self, values: Mapping[str, float]) -> Iterator[Finding]:
        for line, phases in LINES.items():
            seen = values.get(f"voltage_{line}_v")
            between = [values.get(f"voltage_{phase}_v") for phase in phases]
            known = [voltage for voltage in between if voltage is not None]
            if seen is None or len(known) < 2:
                continue
            expected = sqrt(3.0) * sum(known) / 2
            allowed = LINE_VOLTAGE * expected + 2 * self._step(f"voltage_{line}_v")
            yield Finding("line_voltage", f"voltage_{line}_v", seen, expected - allowed, expected + allowed)

    def _power_factor(self, values: Mapping[str, float]) -> Iterator[Finding]:
        """S against ΣV·I, and |PF| against |P| / S; where nothing flows, only that |PF| is at most 1."""
        factor, power_w = values.get("power_factor"), values.get("power_w")
        product_va = self._volt_amperes(values)
        apparent_va = values.get("apparent_power_va", product_va)
        flows = apparent_va is not None and abs(apparent_va) > 100 * max(1.0, self._step("power_w"))
        if flows and product_va is not None and "apparent_power_va" in values:
            low, high = (1 - APPARENT) * product_va, (1 + APPARENT) * product_va
            yield Finding("apparent", "apparent_power_va", abs(apparent_va or 0.0), low, high)
        if factor is None:
            return
        low, high = 0.0, 1.01
        if flows and apparent_va is not None and power_w is not None:
            expected = abs(power_w / apparent_va)
            low, high = expected - POWER_FACTOR, min(expected + POWER_FACTOR, 1.01)
        yield Finding("power_factor", "power_factor", abs(factor), low, high)

    def _volt_amperes(self, values: Mapping[str, float]) -> float | None:
        """ΣV·I of the phases; without a neutral √3 V·I of the mean line voltage and current. [VA]"""
        amperes = [abs(values[name]) for name in (f"current_{phase}_a" for phase in PHASES) if name in values]
        names = PHASES if self._wiring == "3P4W" else LINES
        volts = [values[name] for name in (f"voltage_{name}_v" for name in names) if name in values]
        if len(volts) < 3 or len(amperes) < 3:
            return None
        if self._wiring == "3P4W":
            return sum(v * a for v, a in zip(volts, amperes, strict=True))
        return sqrt(3.0) * (sum(volts) / 3) * (sum(amperes) / 3)

    def _dc_power(self, values: Mapping[str, float]) -> Iterator[Finding]:
        volts = values.get("voltage_v", values.get("voltage_l1_v"))  # a three-phase map may stand for one pair
        amperes, power_w = values.get("current_a", values.get("current_l1_a")), values.get("power_w")
        if volts is not None and amperes is not None and power_w is not None:
            expected = volts * amperes
            allowed = LINE_VOLTAGE * abs(expected) + 2 * self._step("power_w") + 1.0
            yield Finding("dc_power", "power_w", power_w, expected - allowed, expected + allowed)

    def _can_check(self) -> bool:
        """Whether the profile has what any of the checks of its wiring needs."""
        live = {point.name: 1.0 for point in self._points if point.scan == "live"}
        return any(True for _ in self._physics(live))

    def _step(self, name: str) -> float:
        """The least change that the encoding of a point can show; 0 for a float, or if there is no such point."""
        i = self._index.get(name)
        return 0.0 if i is None or self._points[i].type.startswith("float") else abs(self._points[i].scale)


class _EnergyWindow:
    """∫P·dt against what the registers count, over as much energy as the register's step asks for."""

    def __init__(self, profile: Profile) -> None:
        self.can_check = {"power_w", "energy_import_total_wh"} <= profile.index.keys()
        self._has_export = "energy_export_total_wh" in profile.index
        self._register: Point | None = None
        if self.can_check:
            self._register = profile.points[profile.index["energy_import_total_wh"]]
        self._power: tuple[int, float] | None = None  # the last one known, and when
        self._export_wh = 0.0
        self._start_wh: float | None = None
        self._begin(None)

    def feed(self, t_ns: int, values: Mapping[str, float]) -> Finding | None:
        """A finding at the end of each window."""
        if (power_w := values.get("power_w")) is not None:
            self._add(t_ns, power_w)
        if self._has_export:
            self._export_wh = values.get("energy_export_total_wh", self._export_wh)
        register_wh = values.get("energy_import_total_wh")
        if register_wh is None:
            return None
        net_wh = register_wh - self._export_wh
        if self._start_wh is None:
            self._begin(net_wh)
            return None
        step_wh = self._step_wh(register_wh)
        if self._rows < ENERGY_ROWS or self._passed_wh < ENERGY_STEPS * step_wh:
            return None
        counted_wh, made_wh = net_wh - self._start_wh, self._made_wh
        allowed_wh = ENERGY * self._passed_wh + 3 * step_wh
        self._begin(net_wh)
        return Finding("energy", "energy_import_total_wh", counted_wh, made_wh - allowed_wh, made_wh + allowed_wh)

    def _begin(self, net_wh: float | None) -> None:
        self._start_wh, self._rows = net_wh, 0
        self._made_wh, self._passed_wh = 0.0, 0.0  # with its sign, and in both directions

    def _add(self, t_ns: int, power_w: float) -> None:
        before, self._power = self._power, (t_ns, power_w)
        if before is None:
            return
        step_ns = t_ns - before[0]
        uncounted = min(before[1], power_w) < 0 and not self._has_export
        if not 0 < step_ns <= LONGEST_STEP_S * 1e9 or uncounted:
            self._begin(None)
            return
        energy_wh = 0.5 * (before[1] + power_w) * step_ns / NS_PER_HOUR
        self._rows += 1
        self._made_wh += energy_wh
        self._passed_wh += abs(energy_wh)

    def _step_wh(self, register_wh: float) -> float:
        """What the register can tell apart: its scale, or for a float its last digit at this reading."""
        if self._register is None:
            return 1.0
        if self._register.type == "float32":
            return max(1.0, float(np.spacing(np.float32(register_wh))))
        return max(1.0, abs(self._register.scale))


def _energised(values: Mapping[str, float]) -> bool:
    volts = [value for name, value in values.items() if name.startswith("voltage_")]
    return max(volts, default=0.0) > ENERGISED_V or values.get("frequency_hz", 0.0) > 10.0
