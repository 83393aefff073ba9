"""Carbon lines: what the grid emitted, what ships' engines did not, and the difference between equal perimeters.

Each line is energy x its factors, in exact fractions. Avoided emissions need a baseline; without one there is no
line, and the reason is kept instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, Literal

from gateway.report.calls import Call
from gateway.report.factors import Factor, Factors

Subject = Literal["grid_site", "grid_calls", "avoided", "net", "avoided_combustion"]
Reason = Literal["no_baseline", "unknown_baseline", "unverified_baseline", "wrong_use", "no_efficiency"]


@dataclass(frozen=True, order=True)
class Replaced:
    """The engine whose work the energy of a call does: its factor, what for, and how much of it 1 kWh does."""

    baseline: str
    use: str
    efficiency: Fraction = Fraction(1)


@dataclass(frozen=True)
class Line:
    """`co2_kg` = energy x efficiency x factors. A net line has the factors of both its parts."""

    subject: Subject
    energy_wh: int
    factors: tuple[Factor, ...]
    perimeter: str
    gas: str  # CO2 or CO2e
    co2_kg: Fraction
    replaced: Replaced | None = None  # None for the site's line
    berths: tuple[str, ...] = ()  # whose calls it counts

    @property
    def baseline(self) -> str:
        return self.replaced.baseline if self.replaced else ""


@dataclass(frozen=True)
class Refusal:
    """Calls that have no avoided emissions, and why: `reason` is a key of the texts."""

    berth: str
    reason: Reason
    baseline: str
    use: str
    energy_wh: int


@dataclass(frozen=True)
class Carbon:
    lines: tuple[Line, ...]
    refusals: tuple[Refusal, ...]
    factors: tuple[Factor, ...]  # those used, by id
    calls_without_energy: int
    grid: Factor


def account(
    site_wh: int | None, calls: Sequence[Call], berths: Mapping[str, Any], factors: Factors, grid: Factor
) -> Carbon:
    """Carbon of a month.

    Args:
        site_wh: Import of the site's counted meters, None if it is not known. [Wh]
        calls: Those that end in the month.
        berths: Settings of each berth by name: `use`, `baseline`, `efficiency`.
        factors: All that may be used. `grid`: the one for electricity, per kWh.
    """
    lines = [] if site_wh is None else [_line("grid_site", site_wh, (grid,), grid.perimeter)]
    refusals, groups = [], dict[Replaced, list[str]]()
    for berth, use in sorted({(c.berth, c.use) for c in calls}):
        found = replaced_by(berths.get(berth, {}), use, factors)
        if isinstance(found, Replaced):
            groups.setdefault(found, []).append(berth)
        else:
            baseline = berths.get(berth, {}).get("baseline") or ""
            refusals.append(Refusal(berth, found, baseline, use, _energy_wh(calls, [berth], use)))
    for replaced, named in sorted(groups.items()):
        lines += _avoided(replaced, tuple(named), _energy_wh(calls, named, replaced.use), factors, grid)
    used = {f.id: f for line in lines for f in line.factors}
    return Carbon(
        lines=tuple(lines),
        refusals=tuple(refusals),
        factors=tuple(used[name] for name in sorted(used)),
        calls_without_energy=sum(c.energy_wh is None for c in calls),
        grid=grid,
    )


def replaced_by(berth: Mapping[str, Any], use: str, factors: Factors) -> Replaced | Reason:
    """The engine that stands against a call of this use, or why there is none."""
    baseline = berth.get("baseline") or ""
    if not baseline:
        return "no_baseline"
    if baseline in factors.withheld:
        return "unverified_baseline"
    if baseline not in factors or not factors[baseline].emissions:
        return "unknown_baseline"
    if use not in factors[baseline].uses:
        return "wrong_use"
    efficiency = berth.get("efficiency")
    if efficiency is None and use == "traction":
        return "no_efficiency"
    return Replaced(baseline, use, Fraction(str(efficiency)) if efficiency is not None else Fraction(1))


def chain(replaced: Replaced, perimeter: str, factors: Factors) -> tuple[Factor, ...]:
    """Specific consumption and emissions of its fuel."""
    engine = factors[replaced.baseline]
    return engine, factors[engine.emissions[perimeter]]


def _energy_wh(calls: Sequence[Call], berths: Sequence[str], use: str) -> int:
    return sum(c.energy_wh or 0 for c in calls if c.berth in berths and c.use == use)


def _avoided(
    replaced: Replaced, berths: tuple[str, ...], energy_wh: int, factors: Factors, grid: Factor
) -> list[Line]:
    """Grid, avoided and net for the energy of these calls; combustion apart, never netted."""
    life, burnt = (chain(replaced, perimeter, factors) for perimeter in ("life_cycle", "combustion"))
    ours = (replaced, berths)
    emitted = _line("grid_calls", energy_wh, (grid,), grid.perimeter, *ours)
    avoided = _line("avoided", energy_wh, life, "life_cycle", *ours)
    combustion = _line("avoided_combustion", energy_wh, burnt, "combustion", *ours)
    found = [emitted, avoided]
    if (emitted.perimeter, emitted.gas) == (avoided.perimeter, avoided.gas):
        net_kg = emitted.co2_kg - avoided.co2_kg
        both = emitted.factors + avoided.factors
        found.append(Line("net", energy_wh, both, emitted.perimeter, emitted.gas, net_kg, *ours))
    return [*found, combustion]


def gas_of(factor: Factor) -> str:
    """gCO2e/kWh is of CO2e, gCO2/gFuel of CO2."""
    return factor.unit.partition("/")[0].removeprefix("g")


def mass_kg(energy_wh: int, factors: Sequence[Factor], efficiency: Fraction = Fraction(1)) -> Fraction:
    """g/kWh x Wh / 10^6 = kg."""
    return energy_wh * efficiency * prod((f.value for f in factors), start=Fraction(1)) / 10**6


def _line(
    subject: Subject, energy_wh: int, factors: tuple[Factor, ...], perimeter: str,
    replaced: Replaced | None = None, berths: tuple[str, ...] = (),
) -> Line:  # fmt: skip
    efficiency = replaced.efficiency if replaced is not None and subject.startswith("avoided") else Fraction(1)
    co2_kg = mass_kg(energy_wh, factors, efficiency)
    return Line(subject, energy_wh, factors, perimeter, gas_of(factors[-1]), co2_kg, replaced, berths)
