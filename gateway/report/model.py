"""The report of a site's month as plain figures, from a store of rows and a book of catalogues.

Nothing here knows a language, a file or a clock: the same rows give the same report.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from gateway.book import Book
from gateway.report import calls as at_berth
from gateway.report.calls import Call, Reconciliation
from gateway.report.co2 import Carbon, account
from gateway.report.energy import (
    LOOK_BACK_NS,
    WINDOW_NS,
    MeterMonth,
    Minutes,
    Windows,
    gaps,
    register_spans,
    windows,
)
from gateway.report.errors import NoData, WrongInput
from gateway.report.factors import Factor
from gateway.report.figure import Figure
from gateway.report.hourly import HourlyIndicator, indicator, parse_intensity
from gateway.report.ledger import figures_of
from gateway.report.lock_hours import schedule_of
from gateway.report.locks import LockMonth, read_lock
from gateway.report.month import NS, Month
from gateway.report.options import PLAIN, Options
from gateway.report.period import Period
from gateway.report.problems import Problem
from gateway.report.quality import (
    Quality,
    corrections,
    cross_checks,
    earlier,
    outages,
    replacement_problems,
    replacements,
    uncertainty_of,
)
from gateway.report.ships import Method, ShipView, ship_view
from gateway.report.source import site_settings
from gateway.report.stays import by_berth, problems_of, read_stays, with_stay
from gateway.report.targets import Target, parse_targets
from gateway.report.tariff import TariffMonth, tariff_month
from gateway.report.tree import PortView, port_view
from gateway.store.base import Store
from gateway.texts import local

WHOLE_ENOUGH = Fraction(99, 100)  # of the month; below this a report is incomplete (exit code 3)


@dataclass(frozen=True)
class Report:
    """A month of a site. Energies in Wh, instants in ns UTC, shares as exact fractions."""

    site: str
    month: Month
    gateways: tuple[tuple[str, str], ...]  # (name, hash of its site file)
    origins: tuple[str, ...]
    first_ns: int  # first and last instant that any row speaks of
    stop_ns: int
    meters: tuple[MeterMonth, ...]
    minutes: Mapping[str, Minutes]  # of the month, per counted meter: what charts are drawn from
    calls: tuple[Call, ...]
    reconciliations: tuple[Reconciliation, ...]
    locks: tuple[LockMonth, ...]
    carbon: Carbon
    port: PortView
    tariffs: tuple[TariffMonth, ...]
    market: Mapping[str, Factor]  # the contract's factor, by delivery point
    ships: ShipView
    quality: Quality
    problems: tuple[Problem, ...]  # any of them makes the report incomplete
    metered: bool  # the site has a meter, or should
    hourly: HourlyIndicator | None = None  # None: no rates were given
    targets: tuple[Target, ...] = ()
    unsigned: tuple[str, ...] = ()  # counted meters that nobody has signed for: their energy is provisional

    @property
    def factors(self) -> tuple[Factor, ...]:
        """All that any figure stands on, by id."""
        used = {f.id: f for f in (*self.carbon.factors, self.carbon.grid, *self.market.values())}
        used |= {f.id: f for ship in self.ships.ships for f in ship.factors}
        return tuple(used[name] for name in sorted(used))

    @property
    def simulated(self) -> bool:
        return self.origins != ("real",)

    @property
    def counted(self) -> tuple[MeterMonth, ...]:
        """Meters whose import adds up to the site's."""
        return tuple(m for m in self.meters if m.counted)

    @property
    def import_wh(self) -> int | None:
        """None: not measured, or a counted meter was replaced and nobody wrote its indices down."""
        return _sum(m.known_import_wh for m in self.counted)

    @property
    def coverage(self) -> Fraction:
        """Of the month, by the counted meter that covers least; at a site of locks alone by the lock's."""
        covered = [m.coverage_month for m in self.counted]
        if not self.metered:
            covered = [lock.facts.available.coverage or Fraction(0) for lock in self.locks]
        return min(covered, default=Fraction(0))

    def figures(self) -> tuple[Figure, ...]:
        """Every number of the report by key, in one stable order."""
        return self._figures

    @cached_property
    def _figures(self) -> tuple[Figure, ...]:
        return figures_of(self)

    @property
    def complete(self) -> bool:
        return self.coverage >= WHOLE_ENOUGH and not self.problems


def build(store: Store, book: Book, month: str, site: str, options: Options = PLAIN) -> Report:
    """Reckon a month.

    Args:
        store: Rows. `book`: catalogues of the site's gateways, and the journal.
        month: YYYY-MM, in the site's own time zone.
        site: Its name, as in the rows' tag.
        options: Factors, contracts and the like.

    Raises: WrongInput (no such month or site, options that do not fit), NoData (no row in the month). Each is a
        sentence.
    """
    settings = site_settings(book.catalogues(site))
    when = Month.parse(month, settings["timezone"])
    series = [s for s in store.series(counted=False) if s.tags.get("site") == site]
    if not series and not settings["hashes"]:
        known = (
            ", ".join(sorted({s.tags["site"] for s in store.series(counted=False) if "site" in s.tags})) or "none"
        )
        raise WrongInput(f"site {site!r} has no rows in the store; sites there: {known}")

    def devices(kind: str) -> list[str]:
        return sorted({s.tags["device"] for s in series if s.kind == kind})

    entries = book.journal(site)
    stays = read_stays(entries, settings["vessel"])
    ended_stays = [s for s in stays if at_berth.ends_within(s.departure_ns, when)]
    since_ns = min([when.start_ns, *(s.arrival_ns for s in ended_stays)])
    stays_at = by_berth(stays)
    touching = [
        with_stay(call, stays_at)
        for device in devices("session")
        for call in at_berth.read_calls(store, site, device, when, settings["berth"], since_ns)
    ]
    minutes: dict[str, Minutes] = {}
    read: dict[str, Minutes] = {}
    of_meter = _by_meter(touching)
    for device in devices("energy_1m"):
        starts = [c.start_ns - WINDOW_NS for c in of_meter.get(device, ())]
        start_ns = min([when.start_ns - LOOK_BACK_NS, *starts])
        read[device] = Minutes.read(store, site, device, start_ns, when.stop_ns)
        month_only = read[device].within(when.start_ns, when.stop_ns)
        if len(month_only):
            minutes[device] = month_only
    locks = read_locks(store, book, site, when, devices("lock") + devices("lock_cycle"))

    found = {device: windows(read[device], when) for device in read}
    told = [
        at_berth.beside_minutes(own, read[meter], found[meter]) if meter in read else own
        for meter, own in of_meter.items()
    ]
    calls = sorted((c for own in told for c in own), key=lambda c: (c.start_ns, c.berth))
    ended = tuple(c for c in calls if at_berth.ends_within(c.closes_ns, when))
    if not minutes and not ended and all(k.facts.nothing for k in locks):
        raise NoData(_nothing(site, when, [(s.first_ns, s.last_ns) for s in series]))

    span_stop_ns = max((m.stop_ns for m in minutes.values()), default=0)
    counted = _counted(settings["device"], list(minutes))
    replaced = replacements(settings["device"], entries, minutes, when)
    doubtful = {r.meter for r in replaced if not r.known}
    meters = tuple(
        replace(
            _meter_month(
                device, rows, read[device], found[device].since(when.start_ns), when, settings["device"],
                device in counted, span_stop_ns,
            ),
            doubtful=device in doubtful,
        )
        for device, rows in minutes.items()
    )  # fmt: skip
    origins = {o for m in minutes.values() for o in m.origins}
    if ended:  # their state of charge is in the report too
        here = [s for s in series if s.kind == "soc" and s.first_ns < when.stop_ns and s.last_ns >= when.start_ns]
        origins |= {s.tags["origin"] for s in here}
    origins |= {c.origin for c in ended} | {o for k in locks for o in k.origins}
    instants = [int(m.t_ns[0]) for m in minutes.values()] + [max(c.start_ns, when.start_ns) for c in ended]
    of_locks = [span for lock in locks if (span := lock.span_ns) is not None]
    instants += [first_ns for first_ns, _ in of_locks]
    metered = bool(minutes) or any(d.get("meter") for d in settings["device"].values())
    factors, contracts = options.load_factors(), options.load_contracts(site)
    grid = factors.grid(when.year, options.grid_factor or None)
    berths, vessels = settings["berth"], settings["vessel"]
    site_wh = _sum(m.known_import_wh for m in meters if m.counted)
    uncertainties = {
        m.device: uncertainty_of(settings["device"].get(m.device, {}).get("meter") or {}) for m in meters
    }
    port = port_view(meters, settings["device"])
    tariffs = tuple(
        tariff_month(
            contracts[m.device], minutes[m.device], m.windows, when, options.load_curves,
            uncertainties[m.device].expanded,
        )
        for m in meters
        if m.device in contracts
    )  # fmt: skip
    method = Method(factors, grid, berths, vessels, when.year, options.eua, options.pollutants)
    problems = [
        *(_factor_problems(grid, options, when.year) if metered else ()),
        *replacement_problems(replaced, meters),
        *port.problems,
        *(p for t in tariffs for p in t.problems),
        *problems_of(ended_stays, ended),
    ]
    return Report(
        site=site,
        month=when,
        gateways=tuple(sorted(settings["hashes"].items())),
        origins=tuple(sorted(origins)),
        first_ns=min(instants, default=when.start_ns),
        stop_ns=max([when.start_ns, span_stop_ns, *(c.end_ns for c in ended), *(t for _, t in of_locks)]),
        meters=meters,
        minutes={m.device: minutes[m.device] for m in meters if m.counted},
        calls=ended,
        reconciliations=tuple(
            at_berth.reconcile(device, minutes[device], of_meter[device], when)
            for device in minutes
            if device in of_meter
        ),
        locks=locks,
        carbon=account(site_wh, ended, berths, factors, grid),
        port=port,
        tariffs=tariffs,
        market={name: factors.named(c.market_factor) for name, c in contracts.items() if c.market_factor},
        ships=ship_view(ended, ended_stays, method),
        quality=Quality(
            uncertainties, replaced, outages(store, site, meters, minutes, when),
            corrections(store, site, minutes, when), cross_checks(ended),
            earlier(store, site, [m.device for m in meters if m.counted], when),
        ),
        problems=tuple(problems),
        metered=metered,
        hourly=_hourly(options, [minutes[m.device] for m in meters if m.counted], when),
        targets=parse_targets(options.targets) if options.targets else (),
        unsigned=tuple(m.device for m in meters if m.counted and m.device in settings["unsigned"]),
    )  # fmt: skip


def _hourly(options: Options, counted: Sequence[Minutes], month: Month) -> HourlyIndicator | None:
    if not options.intensity:
        return None
    return indicator(parse_intensity(options.intensity), counted, month.start_ns, month.stop_ns)


def _by_meter(calls: Iterable[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(call.meter, []).append(call)
    return found


def _sum(parts: Iterable[int | None]) -> int | None:
    """None if there is no part, or one is unknown."""
    found = list(parts)
    known = [part for part in found if part is not None]
    return sum(known) if found and len(known) == len(found) else None


def _factor_problems(grid: Factor, options: Options, year: int) -> list[Problem]:
    """A year without its factor makes the report incomplete, unless a person chose the one to take."""
    if options.grid_factor or grid.year == str(year):
        return []
    return [Problem("factor_year", {"id": grid.id, "year": grid.year, "wanted": year})]


def read_locks(
    store: Store, book: Book, site: str, month: Month, with_rows: Sequence[str] = ()
) -> tuple[LockMonth, ...]:
    """Locks of the site file, also those without a single row, and any other that has rows."""
    catalogues, written, period = book.catalogues(site), book.journal(site), Period(month, "month")
    declared = {name for name, d in site_settings(catalogues)["device"].items() if d.get("lock")}
    return tuple(
        read_lock(store, site, lock, period, catalogues, schedule_of(written, lock, period))
        for lock in sorted(declared | set(with_rows))
    )


def _counted(devices: Mapping[str, Any], metered: list[str]) -> set[str]:
    """Meters that add up to the site: delivery points; without any, those that have no meter upstream.

    A check meter never counts, nor does one whose upstream meter already does.
    """
    roles = {d: (devices.get(d, {}).get("meter") or {}) for d in metered}
    delivery = {d for d, m in roles.items() if m.get("role") == "delivery"}
    found = delivery or {d for d, m in roles.items() if m.get("role") != "check"}
    return {d for d in found if roles[d].get("parent") not in found}


def _meter_month(
    device: str,
    rows: Minutes,
    read: Minutes,
    found: Windows,
    month: Month,
    devices: Mapping[str, Any],
    counted: bool,
    span_stop_ns: int,
) -> MeterMonth:
    meter = devices.get(device, {}).get("meter") or {}
    covered_ns = int(rows.covered_ns.sum())
    first_ns = int(rows.t_ns[0])
    return MeterMonth(
        device=device,
        role=meter.get("role", "berth"),
        parent=meter.get("parent"),
        serial=meter.get("serial", ""),
        accuracy_class=meter.get("accuracy_class", ""),
        counted=counted,
        import_wh=int(rows.import_wh.sum()),
        export_wh=int(rows.export_wh.sum()),
        measured_wh=int(rows.measured_wh.sum()),
        integrated_wh=int(rows.integrated_wh.sum()),
        estimated_wh=int(rows.estimated_wh.sum()),
        first_ns=first_ns,
        span_stop_ns=span_stop_ns,
        coverage_month=Fraction(covered_ns, month.seconds * NS),
        coverage_span=Fraction(covered_ns, span_stop_ns - first_ns),
        registers=register_spans(read.within(0, month.start_ns), rows),
        gaps=gaps(rows, span_stop_ns),
        windows=found,
    )


def _nothing(site: str, month: Month, spans: list[tuple[int, int]]) -> str:
    if not spans:
        return f"site {site!r} has no rows yet, so none of {month}; see that its gateway is online"

    def day(t_ns: int) -> str:
        return f"{local(t_ns, month.zone):%Y-%m-%d}"

    first_ns, last_ns = min(s[0] for s in spans), max(s[1] for s in spans)
    return (
        f"site {site!r} has no minute, call or lockage in {month}; its rows run from {day(first_ns)}"
        f" to {day(last_ns)}: ask for a month between them"
    )
