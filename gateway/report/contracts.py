"""What the contract of a delivery point says: dated subscribed power per tariff class, and the invoice's figures.

One TOML with tables [[contract]]; the shore file names it. Tariff classes are rules on local time, the first that
fits counts, since every contract cuts the year in its own way.
"""

import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gateway.journal import DAYS, Day, Name
from gateway.report.errors import WrongInput

ALL_YEAR = tuple(range(1, 13))


def _exact(value: object) -> object:
    """Numbers as they stand in the file, not as the nearest binary fraction."""
    return Fraction(value) if isinstance(value, int | Fraction) and not isinstance(value, bool) else value


Exact = Annotated[Fraction, BeforeValidator(_exact), Field(ge=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Subscribed(_Table):
    """Power that holds for a class from a day on, until the next one of that class."""

    since: date = Field(description="first day, as in 2026-01-01")
    tariff: str = Field(min_length=1, description="name of the class, as in HPH")
    power_kw: Exact = Field(description="subscribed power in kW")


class TariffClass(_Table):
    """When a class applies, on the local clock. What is left out does not restrict."""

    name: str = Field(min_length=1, description="as on the invoice, as in HPH")
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field(ALL_YEAR, description="as in [11, 12]")
    weekdays: tuple[Day, ...] = Field(DAYS, description='as in ["mon", "tue"]')
    start: time = Field(time(0), description="from this time of day, as in 06:00:00")
    stop: time = Field(time(0), description="until this time; 00:00:00: the day's end; before start: overnight")

    def holds(self, at: datetime) -> bool:
        clock = at.time().replace(tzinfo=None)
        if self.stop == time(0):
            inside = clock >= self.start
        elif self.start < self.stop:
            inside = self.start <= clock < self.stop
        else:
            inside = clock >= self.start or clock < self.stop
        return inside and at.month in self.months and DAYS[at.weekday()] in self.weekdays


class LoadCurve(_Table):
    """A load curve of the grid operator, as CSV. It then stands in for the meter in peaks and exceedance."""

    file: str = Field(min_length=1, description="path of the CSV, relative to this file")
    time: str = Field("time", description="name of the column with the time, ISO with its distance from UTC")
    value: str = Field("power_kw", description="name of the column with the mean power")
    unit: Literal["W", "kW", "MW"] = Field("kW", description="W, kW or MW")
    stamp: Literal["start", "end"] = Field(description="does a time name the start or the end of its interval?")


class Invoice(_Table):
    """What the invoice of a month says of a class. Only what stands on it is compared."""

    month: str = Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="as in 2026-10")
    tariff: str = Field("", description="the class; left out: the whole delivery point")
    energy_kwh: Exact | None = Field(None, description="energy in kWh")
    peak_kw: Exact | None = Field(None, description="highest mean power in kW")
    exceedance_kw: Exact | None = Field(None, description="root of the sum of squares of what went beyond, in kW")


class Contract(_Table):
    site: Name = Field(description="the site's name")
    meter: Name = Field(description="the delivery point's meter")
    market_factor: str | None = Field(None, description="factor id of the contract, for the market-based line")
    constraint_share: Exact = Field(
        Fraction(9, 10), description="share of the subscribed power from which the site counts as constrained"
    )
    tariff: tuple[TariffClass, ...] = Field((), description="[[contract.tariff]]")
    subscribed: tuple[Subscribed, ...] = Field((), description="[[contract.subscribed]]")
    load_curve: LoadCurve | None = Field(None, description="[contract.load_curve]")
    invoice: tuple[Invoice, ...] = Field((), description="[[contract.invoice]]")

    @model_validator(mode="after")
    def _classes_are_known(self) -> Self:
        known = [c.name for c in self.tariff]
        for tariff in [s.tariff for s in self.subscribed] + [i.tariff for i in self.invoice if i.tariff]:
            if tariff not in known:
                raise ValueError(f"tariff {tariff!r} has no [[contract.tariff]]; use {', '.join(known) or 'none'}")
        return self

    def tariff_at(self, at: datetime) -> str | None:
        """Name of the class at a local time; None: no rule fits."""
        return next((c.name for c in self.tariff if c.holds(at)), None)

    def subscribed_w(self, tariff: str, day: date) -> Fraction | None:
        """Subscribed power of a class on a day; None before the first."""
        dated = [s for s in self.subscribed if s.tariff == tariff and s.since <= day]
        return max(dated, key=lambda s: s.since).power_kw * 1000 if dated else None


class _File(_Table):
    contract: tuple[Contract, ...] = Field(description="[[contract]]")


def parse_contracts(text: str, site: str) -> Mapping[str, Contract]:
    """Contracts of a site, by meter. Raises: WrongInput, with one line per problem."""
    try:
        contracts = _File.model_validate(tomllib.loads(text, parse_float=Fraction)).contract
    except tomllib.TOMLDecodeError as error:
        raise WrongInput(f"contracts: not TOML: {error}") from error
    except ValidationError as error:
        raise WrongInput("\n".join(_explain(problem) for problem in error.errors())) from error
    found = [c for c in contracts if c.site == site]
    by_meter = {c.meter: c for c in found}
    if len(by_meter) < len(found):
        raise WrongInput(f"contracts: a meter of {site} has two; keep one, with dated [[contract.subscribed]]")
    return by_meter


def _explain(problem: Mapping[str, object]) -> str:
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in problem["loc"]).lstrip(".")  # type: ignore[attr-defined]
    seen = problem["input"]
    shown = f" = {seen}" if isinstance(seen, str | int | Fraction) else ""
    return f"contracts: {place}{shown}: {str(problem['msg']).removeprefix('Value error, ')}"
