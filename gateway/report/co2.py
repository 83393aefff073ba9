"""Carbon lines: what the grid emitted, what ships' engines did not, and the difference between equal perimeters.

Each line is energy x its factors, in exact fractions. Avoided emissions need a baseline; without one there is no
line, and the reason is kept instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any, Literal

from gateway.report.calls import Call
from gateway.report.factors import GRID, Factor

Subject = Literal["grid_site", "grid_calls", "avoided", "net", "avoided_combustion"]


@dataclass(frozen=True)
class Line:
    """`co2_kg` = energy x factors. A net line has the factors of both its parts and `parts` to find them."""

    subject: Subject
    baseline: str  # "" for the site's line
    energy_wh: int
    factors: tuple[Factor, ...]
    perimeter: str
    gas: str  # CO2 or CO2e
    co2_kg: Fraction
    berths: tuple[str, ...] = ()  # whose calls it counts


@dataclass(frozen=True)
class Refusal:
    """A berth whose calls have no avoided emissions, and why: `reason` is a key of the texts."""

    berth: str
    reason: Literal["no_baseline", "unknown_baseline", "wrong_use"]
    baseline: str
    use: str
    energy_wh: int


@dataclass(frozen=True)
class Carbon:
    lines: tuple[Line, ...]
    refusals: tuple[Refusal, ...]
    factors: tuple[Factor, ...]  # those used, by id
    calls_without_energy: int


def account(
    site_wh: int, calls: Sequence[Call], berths: Mapping[str, Any], factors: Mapping[str, Factor]
) -> Carbon:
    """Carbon of a month.

    Args:
        site_wh: Import of the site's counted meters. [Wh]
        calls: Those that end in the month.
        berths: Settings of each berth by name: `use`, `baseline`.
        factors: From `load_factors`.
    """
    lines = [_line("grid_site", "", site_wh, (factors[GRID],), factors[GRID].perimeter)]
    refusals, by_baseline = [], dict[str, list[str]]()
    for berth in sorted({c.berth for c in calls}):
        energy_wh = sum(c.energy_wh or 0 for c in calls if c.berth == berth)
        settings = berths.get(berth, {})
        use, baseline = settings.get("use") or "", settings.get("baseline") or ""
        reason = _refusal(use, baseline, factors)
        if reason is None:
            by_baseline.setdefault(baseline, []).append(berth)
        else:
            refusals.append(Refusal(berth, reason, baseline, use, energy_wh))
    for baseline, named in sorted(by_baseline.items()):
        energy_wh = sum(c.energy_wh or 0 for c in calls if c.berth in named)
        lines += [replace(line, berths=tuple(named)) for line in _avoided(baseline, energy_wh, factors)]
    used = {f.id: f for line in lines for f in line.factors}
    return Carbon(
        lines=tuple(lines),
        refusals=tuple(refusals),
        factors=tuple(used[name] for name in sorted(used)),
        calls_without_energy=sum(c.energy_wh is None for c in calls),
    )


def _refusal(
    use: str, baseline: str, factors: Mapping[str, Factor]
) -> Literal["no_baseline", "unknown_baseline", "wrong_use"] | None:
    if not baseline:
        return "no_baseline"
    if baseline not in factors or not factors[baseline].emissions:
        return "unknown_baseline"
    return None if use in factors[baseline].uses else "wrong_use"


def _avoided(baseline: str, energy_wh: int, factors: Mapping[str, Factor]) -> list[Line]:
    """Grid, avoided and net for the energy of the calls with this baseline; combustion apart, never netted."""
    engine = factors[baseline]

    def chain(perimeter: str) -> tuple[Factor, ...]:
        return engine, factors[engine.emissions[perimeter]]

    grid = _line("grid_calls", baseline, energy_wh, (factors[GRID],), factors[GRID].perimeter)
    avoided = _line("avoided", baseline, energy_wh, chain("life_cycle"), "life_cycle")
    combustion = _line("avoided_combustion", baseline, energy_wh, chain("combustion"), "combustion")
    found = [grid, avoided]
    if (grid.perimeter, grid.gas) == (avoided.perimeter, avoided.gas):
        net_kg = grid.co2_kg - avoided.co2_kg
        both = grid.factors + avoided.factors
        found.append(Line("net", baseline, energy_wh, both, grid.perimeter, grid.gas, net_kg))
    return [*found, combustion]


def _line(subject: Subject, baseline: str, energy_wh: int, factors: tuple[Factor, ...], perimeter: str) -> Line:
    """g/kWh x Wh / 10^6 = kg. The gas is that of the last factor: gCO2e/kWh or gCO2/gFuel."""
    gas = factors[-1].unit.partition("/")[0].removeprefix("g")
    co2_kg = Fraction(energy_wh) * prod((f.value for f in factors), start=Fraction(1)) / 10**6
    return Line(subject, baseline, energy_wh, factors, perimeter, gas, co2_kg)
