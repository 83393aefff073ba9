"""A report's figures as text in one language: what every section says in the same way."""

from fractions import Fraction
from typing import Any

from gateway.report.document import PROVISIONAL, Edition
from gateway.report.energy import Window
from gateway.report.factors import Factor
from gateway.report.figure import Figure
from gateway.report.model import Report
from gateway.texts import Texts


class Words:
    """`w("energy.heading")` is a sentence of the report; the methods write figures with their units."""

    def __init__(self, report: Report, texts: Texts, edition: Edition = PROVISIONAL) -> None:
        self.report, self.t, self.edition = report, texts, edition
        self.status = self("header.final" if edition.final else "header.provisional")
        self.month = texts.month(report.month.year, report.month.month)

    def __call__(self, key: str, **values: object) -> str:
        return self.t(f"report.{key}", **values)

    def at(self, t_ns: int, seconds: bool = False) -> str:
        return self.t.instant(t_ns, self.report.month.zone, seconds)

    def kwh(self, wh: int) -> str:
        """To the last Wh: an auditor adds them up."""
        return self.t.number(Fraction(wh, 1000), 3)

    def kwh_unit(self, wh: int) -> str:
        return self.t.quantity(Fraction(wh, 1000), "kWh", 3)

    def kwh_or_none(self, wh: int | None) -> str:
        return self("not_measured") if wh is None else self.kwh(wh)

    def kwh_exact(self, wh: Fraction) -> str:
        return self.t.number(wh / 1000, 3)

    def unverified(self, factor: Factor) -> str:
        """What stands behind the name of a factor that nobody has verified."""
        return "" if factor.verified else self("certainty.mark")

    def kw(self, window: Window) -> str:
        """A lower bound is cut, not rounded, and says what it is."""
        if window.complete:
            return self.t.number(Fraction(window.power_w, 1000), 1)
        return f"≥ {self.t.number(Fraction(window.power_w // 100, 10), 1)}"

    @staticmethod
    def gas(name: str) -> str:
        return name.replace("CO2", "CO₂")

    def peak_at(self, window: Window) -> str:
        return self("essentials.peak_value", power=self.kw(window), at=self.at(window.start_ns))


class PeriodWords(Words):
    """The same for a longer period: anything that has `month` with a time zone, as a roll-up."""

    def __init__(self, rollup: Any, texts: Texts, edition: Edition = PROVISIONAL) -> None:
        super().__init__(rollup, texts, edition)
        self.month = texts.period(rollup.period.year, rollup.period.month, rollup.period.span)

    def value(self, figure: Figure | None) -> str:
        """A figure by its unit."""
        if figure is None or figure.value is None:
            return self("not_measured")
        value = Fraction(figure.value)
        match figure.unit:
            case "Wh":
                return self.t.number(value / 1000, 3)
            case "1":
                return self.t.percent(value, 1)
            case "count":
                return self.t.number(value)
        return self.t.number(value, 1)
