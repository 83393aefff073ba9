"""Emission factors: versioned data with unit, perimeter, year, source and certainty. Values are exact."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any

CERTAIN = ("found-primary", "found-secondary", "derived")  # anything else is not calculated with
GRID = "elec.fr.ademe.2022.consumption"  # location-based; for a BEGES the average consumption mix is the rule


@dataclass(frozen=True)
class Factor:
    """A number that turns one quantity into another.

    `perimeter`: life_cycle (upstream included, CO2e), combustion (at the funnel, CO2) or parameter. A
    specific fuel consumption has `uses` (what energy it may stand for) and `emissions` (perimeter -> id of the
    fuel's factor).
    """

    id: str
    value: Fraction
    unit: str
    perimeter: str
    region: str
    year: str
    source: str
    certainty: str
    uses: tuple[str, ...] = ()
    emissions: Mapping[str, str] = field(default_factory=dict)

    @property
    def cited(self) -> str:
        """Id and version, as a figure names it."""
        return f"{self.id}@{self.year}"


@cache
def load_factors() -> Mapping[str, Factor]:
    """The factors that ship with bollard, by id. Raises: ValueError if one may not be used."""
    text = resources.files("gateway.report").joinpath("factors.json").read_text("utf-8")
    return parse_factors(text)


def parse_factors(text: str) -> dict[str, Factor]:
    """Raises: ValueError, naming the factor and what is wrong with it."""
    items: list[dict[str, Any]] = json.loads(text, parse_float=Fraction, parse_int=Fraction)
    factors = {}
    for item in items:
        if item["certainty"] not in CERTAIN:
            raise ValueError(
                f"factor {item['id']}: certainty {item['certainty']!r} is not one of {', '.join(CERTAIN)};"
                " look the value up at its source first"
            )
        factors[item["id"]] = Factor(**{**item, "uses": tuple(item.get("uses", ()))})
    for factor in factors.values():
        for name in factor.emissions.values():
            if name not in factors:
                raise ValueError(f"factor {factor.id}: its emissions name {name!r}, which is not in the list")
    return factors
