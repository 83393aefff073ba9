"""The port view: what each delivery point took, what went on to ships, and what the port itself used and lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gateway.report.energy import MeterMonth
from gateway.report.problems import Problem


@dataclass(frozen=True)
class PointMonth:
    """A delivery point. Balance: import + production = export + ships + auxiliaries + losses, each in Wh.

    None: a meter below it has no rows in the month, or cannot be trusted. `losses_wh` holds what no meter below
    counts: transformers, cables, and whatever has no meter.
    """

    meter: str
    supply: str | None  # consumer, reseller, owner; None: the site file does not say
    import_wh: int | None
    export_wh: int
    production_wh: int | None
    ships_wh: int | None
    auxiliary_wh: int | None
    below: tuple[str, ...]  # meters that the balance is made of
    coverage: Fraction  # the least of all these meters

    @property
    def losses_wh(self) -> int | None:
        parts = (self.import_wh, self.production_wh, self.ships_wh, self.auxiliary_wh)
        if any(part is None for part in parts):
            return None
        taken, made, ships, auxiliary = (part or 0 for part in parts)
        return taken + made - self.export_wh - ships - auxiliary

    @property
    def own_wh(self) -> int | None:
        """Auxiliaries and losses: the port's own use."""
        losses_wh = self.losses_wh
        return None if losses_wh is None or self.auxiliary_wh is None else self.auxiliary_wh + losses_wh

    @property
    def scope2_wh(self) -> Fraction | None:
        """Bought electricity that the port itself consumes.

        A consumer's is all that it takes; a reseller's its own use; an owner buys nothing. Where the site produces
        as well, what was bought is shared out between own use and ships in proportion.
        """
        if self.supply is None or self.import_wh is None:
            return None
        if self.supply == "owner":
            return Fraction(0)
        if self.supply == "consumer":
            return Fraction(self.import_wh)
        own_wh, ships_wh = self.own_wh, self.ships_wh
        if own_wh is None or ships_wh is None:
            return None
        used_wh = own_wh + ships_wh
        return self.import_wh * Fraction(own_wh, used_wh) if used_wh else Fraction(0)

    @property
    def resold_wh(self) -> Fraction | None:
        """What a reseller bought for ships; stands apart from its own."""
        if self.supply != "reseller" or self.scope2_wh is None or self.import_wh is None:
            return None
        return self.import_wh - self.scope2_wh


@dataclass(frozen=True)
class PortView:
    points: tuple[PointMonth, ...]
    problems: tuple[Problem, ...]


def port_view(meters: Sequence[MeterMonth], devices: Mapping[str, Any]) -> PortView:
    """Delivery points with the meters below them.

    Args:
        meters: Those with rows in the month.
        devices: Settings of all devices of the site, by name.
    """
    settings = {name: d["meter"] for name, d in devices.items() if d.get("meter")}
    known = {m.device: m for m in meters}
    points, problems = [], []
    for meter in meters:
        if meter.role != "delivery":
            continue
        below = _below(meter.device, settings)
        silent = [name for name in below if name not in known]
        problems += [Problem("no_rows", {"meter": name, "point": meter.device}) for name in silent]
        point = _point(
            meter, settings.get(meter.device, {}), [known[n] for n in below if n in known], bool(silent)
        )
        points.append(point)
        if point.losses_wh is not None and point.losses_wh < 0:
            problems.append(Problem("losses_negative", {"point": meter.device, "wh": point.losses_wh}))
    return PortView(tuple(points), tuple(problems))


def _point(
    meter: MeterMonth, settings: Mapping[str, Any], below: Sequence[MeterMonth], silent: bool
) -> PointMonth:
    doubtful = silent or any(m.doubtful for m in below)

    def taken_wh(*roles: str) -> int | None:
        """Net, toward the load."""
        return None if doubtful else sum(m.import_wh - m.export_wh for m in below if m.role in roles)

    made_wh = taken_wh("production")
    return PointMonth(
        meter=meter.device,
        supply=settings.get("supply"),
        import_wh=None if meter.doubtful else meter.import_wh,
        export_wh=meter.export_wh,
        production_wh=None if made_wh is None else -made_wh,
        ships_wh=taken_wh("berth"),
        auxiliary_wh=taken_wh("auxiliary"),
        below=tuple(m.device for m in below),
        coverage=min(m.coverage_month for m in (meter, *below)),
    )


def _below(meter: str, settings: Mapping[str, Any]) -> list[str]:
    """The nearest meters downstream; a check meter is looked through."""
    found = []
    for name in sorted(name for name, m in settings.items() if m.get("parent") == meter):
        found += _below(name, settings) if settings[name].get("role") == "check" else [name]
    return found
