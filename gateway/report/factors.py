"""Emission factors: versioned data with unit, perimeter, year, source and certainty. Values are exact.

A fuel's factor per gram is reckoned from the regulation's constants with the chosen set of GWP.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any

from gateway.report.errors import WrongInput

CERTAIN = ("found-primary", "found-secondary", "derived", "supplied")
UNVERIFIED = ("from-memory-to-verify",)  # reckoned with only where the reader of the report is told so
GWP_SETS = ("ar4", "ar5", "ar6")
PERIMETERS = ("life_cycle", "combustion", "production", "market", "property", "parameter")
MIX = ("elec.fr.ademe.", ".consumption")  # for a BEGES the average consumption mix is the rule


@dataclass(frozen=True)
class Factor:
    """A number that turns one quantity into another.

    `perimeter`: life_cycle (upstream included, CO2e), combustion (at the funnel), production (of electricity,
    without losses), market (a contract's), property of a fuel, or parameter. A specific fuel consumption has
    `uses` (what energy it may stand for), a `fuel`, and `emissions` (perimeter -> id of the fuel's factor).
    """

    id: str
    value: Fraction
    unit: str
    perimeter: str
    region: str
    year: str
    source: str
    certainty: str
    version: str = "1"
    uses: tuple[str, ...] = ()
    fuel: str = ""
    note: str = ""
    emissions: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def cited(self) -> str:
        """Id and version, as a figure names it."""
        return f"{self.id}@{self.version}"

    @property
    def verified(self) -> bool:
        return self.certainty in CERTAIN


class Factors(Mapping[str, Factor]):
    """Factors by id, those that may be used. `withheld`: unverified ones, that nobody has allowed."""

    def __init__(self, usable: Mapping[str, Factor], withheld: Mapping[str, Factor], gwp: str) -> None:
        self._usable, self.withheld, self.gwp = usable, withheld, gwp

    def __getitem__(self, name: str) -> Factor:
        return self._usable[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._usable)

    def __len__(self) -> int:
        return len(self._usable)

    @property
    def digest(self) -> str:
        """Of all that is in use: another value gives another digest."""
        text = "\n".join(f"{f.cited} {f.value} {f.unit} {f.perimeter}" for _, f in sorted(self._usable.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def grid(self, year: int, chosen: str | None = None) -> Factor:
        """The average consumption mix of a year, else the latest before it; or the one that was chosen.

        Raises: WrongInput.
        """
        if chosen is not None:
            factor = self.named(chosen)
            if not factor.unit.endswith("/kWh") or factor.fuel:
                raise WrongInput(f"factor {chosen} has the unit {factor.unit}; choose one per kWh of electricity")
            return factor
        mixes = [f for f in self.values() if f.id.startswith(MIX[0]) and f.id.endswith(MIX[1])]
        before = [f for f in mixes if int(f.year) <= year]
        if not before:
            first = min(f.year for f in mixes)
            raise WrongInput(
                f"no factor {MIX[0]}YEAR{MIX[1]} is as old as {year}, only {first}; give one in report.factors"
            )
        return max(before, key=lambda f: int(f.year))

    def named(self, name: str) -> Factor:
        """Raises: WrongInput if there is none of that name, or it is unverified and not allowed."""
        if name in self._usable:
            return self._usable[name]
        if name in self.withheld:
            raise WrongInput(f"factor {name} is unverified; look it up at its source, or give --allow-unverified")
        raise WrongInput(f"factor {name!r} is not known; see factors.json, or give it in report.factors")


@cache
def load_factors(gwp: str = "ar5", allow_unverified: bool = False) -> Factors:
    """The factors that ship with bollard. Raises: WrongInput, for a set of GWP that is none."""
    return _factors(shipped(), gwp, allow_unverified)


def parse_own(text: str, gwp: str, allow_unverified: bool) -> Factors:
    """The shipped factors with a person's own (TOML, tables [[factor]]) in their place or beside them.

    Raises: WrongInput.
    """
    try:
        table = tomllib.loads(text, parse_float=Fraction)
    except tomllib.TOMLDecodeError as error:
        raise WrongInput(f"factors: not TOML: {error}") from error
    own = table.get("factor")
    if not isinstance(own, list) or set(table) != {"factor"}:
        raise WrongInput(f"factors: hold {', '.join(table) or 'nothing'}; give tables [[factor]] and nothing else")
    items = [{"certainty": "supplied", "version": "own", **item} for item in own]
    try:
        return _factors(shipped() | parse_factors(items, "factors"), gwp, allow_unverified)
    except ValueError as error:
        raise WrongInput(str(error)) from error


@cache
def shipped() -> dict[str, Factor]:
    text = resources.files("gateway.report").joinpath("factors.json").read_text("utf-8")
    return parse_factors(json.loads(text, parse_float=Fraction, parse_int=Fraction), "factors.json")


def parse_factors(items: list[dict[str, Any]], where: str) -> dict[str, Factor]:
    """Raises: ValueError, naming the factor and what is wrong with it."""
    found: dict[str, Factor] = {}
    for item in items:
        name = f"{where}: factor {item.get('id', '?')}"
        _check(item, name)
        if item["id"] in found:
            raise ValueError(f"{name}: stands twice; keep one")
        lists = {"value": Fraction(item["value"]), "year": str(item["year"]), "uses": tuple(item.get("uses", ()))}
        found[item["id"]] = Factor(**{**item, **lists})
    return found


def _check(item: Mapping[str, Any], name: str) -> None:
    known = {f.name for f in fields(Factor)} - {"emissions"}
    needed = ("id", "value", "unit", "perimeter", "region", "year", "source", "certainty")
    for key in needed:
        if item.get(key) in (None, ""):
            if key == "year" and "year" in item:
                continue  # a source without a date
            raise ValueError(f"{name}: {key} is missing; an auditor asks for all of {', '.join(needed)}")
    if not set(item) <= known:
        raise ValueError(f"{name}: {sorted(set(item) - known)[0]}: no such key; use {', '.join(sorted(known))}")
    for key, allowed in (("certainty", (*CERTAIN, *UNVERIFIED)), ("perimeter", PERIMETERS)):
        if item[key] not in allowed:
            raise ValueError(f"{name}: {key} {item[key]!r} is not one of {', '.join(allowed)}")
    if isinstance(item["value"], bool) or not isinstance(item["value"], int | Fraction):
        raise ValueError(f"{name}: value = {item['value']!r} is not a number")
    if item["value"] < 0:
        raise ValueError(f"{name}: value = {item['value']} is negative")
    if item["value"] == 0 and item["unit"].endswith("/kWh") and item["perimeter"] != "market":
        raise ValueError(f"{name}: value = 0: no grid emits nothing; a contract's factor has perimeter market")


def _factors(items: Mapping[str, Factor], gwp: str, allow_unverified: bool) -> Factors:
    if gwp not in GWP_SETS:
        raise WrongInput(f"gwp {gwp!r} is not one of {', '.join(GWP_SETS)}")
    withheld = {} if allow_unverified else {name: f for name, f in items.items() if not f.verified}
    usable = {name: f for name, f in items.items() if name not in withheld}
    fuels = {name.split(".")[1] for name in usable if name.startswith("fueleu.") and name.endswith(".lcv")}
    for fuel in sorted(fuels):
        derived = fuel_factors(usable, fuel, gwp)
        usable |= {f.id: f for f in derived}
    for name, factor in usable.items():
        if factor.fuel:
            usable[name] = _with_emissions(factor, usable, gwp)
    return Factors(usable, withheld, gwp)


def _with_emissions(factor: Factor, items: Mapping[str, Factor], gwp: str) -> Factor:
    combustion = "mrv.mgo.cf_co2" if factor.fuel == "mdo_mgo" else f"fueleu.{factor.fuel}.cf_co2"
    emissions = {"life_cycle": f"fueleu.{factor.fuel}.wtw_per_g.{gwp}", "combustion": combustion}
    for name in emissions.values():
        if name not in items:
            raise ValueError(f"factor {factor.id}: its fuel {factor.fuel!r} has no {name}; correct fuel")
    return Factor(**{**vars(factor), "emissions": emissions})


def fuel_factors(items: Mapping[str, Factor], fuel: str, gwp: str) -> tuple[Factor, Factor]:
    """Emissions per gram of a fuel, tank to wake and well to wake, with a set of GWP; slip counts as CH4.

    Source: Reg. (EU) 2023/1805, Annexes I and II.
    """

    def value(name: str) -> Fraction:
        factor = items.get(name)
        return factor.value if factor is not None else Fraction(0)

    ch4, n2o = (items[f"gwp.{gwp}.{gas}"].value for gas in ("ch4", "n2o"))
    base = f"fueleu.{fuel}"
    burnt = value(f"{base}.cf_co2") + value(f"{base}.cf_ch4") * ch4 + value(f"{base}.cf_n2o") * n2o
    slip = value(f"{base}.slip") / 100
    ttw = (1 - slip) * burnt + slip * ch4
    upstream = value(f"{base}.lcv") * value(f"{base}.wtt")
    like = items[f"{base}.lcv"]
    versions = f"{like.version}.{items[f'gwp.{gwp}.ch4'].version}"

    def made(kind: str, perimeter: str, result: Fraction, how: str) -> Factor:
        source = f"{how} of Reg. (EU) 2023/1805 Annex II ({fuel}) with GWP of {gwp.upper()}"
        return Factor(
            f"{base}.{kind}_per_g.{gwp}", result, "gCO2e/gFuel", perimeter,
            like.region, like.year, source, "derived", versions,
        )  # fmt: skip

    return (
        made("ttw", "combustion", ttw, "TtW"),
        made("wtw", "life_cycle", upstream + ttw, "LCV x WtT + TtW"),
    )
