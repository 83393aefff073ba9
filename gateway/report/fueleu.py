"""FuelEU Maritime: greenhouse gas intensity of a ship's energy, and what a deficit costs.

Source: Regulation (EU) 2023/1805, from public transcriptions of it. Electricity from the shore stands in the
denominator alone.
"""

from collections.abc import Mapping
from fractions import Fraction

from gateway.report.factors import Factors, fuel_factors

REFERENCE = Fraction("91.16")  # gCO2e/MJ, 2020
REDUCTION = {2025: Fraction(2), 2030: Fraction(6), 2035: Fraction("14.5"), 2040: Fraction(31), 2045: Fraction(62),
             2050: Fraction(80)}  # percent, from that year on  # fmt: skip
MJ_PER_TONNE = 41_000  # of very low sulphur fuel oil
EUR_PER_TONNE = 2_400


def limit(year: int) -> Fraction:
    """The highest intensity that a year allows. [gCO2e/MJ]"""
    since = [first for first in REDUCTION if first <= year]
    return REFERENCE * (1 - REDUCTION[max(since)] / 100) if since else REFERENCE


def intensity(
    fuels_g: Mapping[str, Fraction], shore_mj: Fraction, factors: Factors, wind: Fraction = Fraction(1)
) -> Fraction:
    """Well-to-wake intensity of what a ship used. [gCO2e/MJ]

    Args:
        fuels_g: Mass of each fuel by its name in the factors, as in mdo_mgo. [g]
        shore_mj: Electricity from the shore; 1 kWh is 3.6 MJ. [MJ]
        wind: Reward factor of wind propulsion, 1 without.
    """
    emitted_g = sum(
        (m * fuel_factors(factors, fuel, factors.gwp)[1].value for fuel, m in fuels_g.items()), Fraction(0)
    )
    energy_mj = sum((m * factors[f"fueleu.{fuel}.lcv"].value for fuel, m in fuels_g.items()), shore_mj)
    return wind * emitted_g / energy_mj


def balance_g(actual: Fraction, year: int, energy_mj: Fraction) -> Fraction:
    """Compliance balance; negative is a deficit. [gCO2e]"""
    return (limit(year) - actual) * energy_mj


def penalty_eur(balance: Fraction, actual: Fraction, periods: int = 1) -> Fraction:
    """What a deficit costs; 10 % more for each consecutive period before this one. [EUR]"""
    if balance >= 0:
        return Fraction(0)
    return -balance / (actual * MJ_PER_TONNE) * EUR_PER_TONNE * (1 + Fraction(periods - 1, 10))
