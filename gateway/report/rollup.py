"""Months of sites added up: half-years and years, several sites, ports, operators, ship companies.

A site's months are reckoned one after the other and only their sums are kept, so memory stays that of a month.
What adds up is named here; a figure that does not add up (a peak, a share) is not rolled up as if it did.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal, cast

from gateway.book import Book, Filed
from gateway.perimeter import Perimeter
from gateway.report.data import figure_lines, lines_hash
from gateway.report.errors import NoData
from gateway.report.factors import Factor
from gateway.report.figure import Figure, key_of
from gateway.report.figures_locks import figures_of_group, figures_of_lock
from gateway.report.figures_ships import ship_key
from gateway.report.frozen import Recorder, report_stem, rows_hash
from gateway.report.lock_time import Share
from gateway.report.lockages import CycleTimes, MeanTime
from gateway.report.locks import LockFacts, cycles_in, together
from gateway.report.model import Report, build, read_locks
from gateway.report.month import Month
from gateway.report.options import PLAIN, Options
from gateway.report.period import Period
from gateway.report.source import site_settings
from gateway.report.targets import Deviation, Target, deviations, parse_targets, target_figures
from gateway.store.base import Store

SUMS = ("energy.import_wh", "energy.export_wh", "calls.count", "calls.energy_wh")
SUM_ENDINGS = {"co2.": "_kg", "port.": "_wh"}  # all carbon lines and all parts of the balance, each on its own
APART = ("meter", "berth", "call", "lock")  # a figure of one of these is no figure of the site
FOLDED = "point"  # delivery points of a site are added up
YEAR_BEFORE = "energy.import_year_before_wh"  # from each month's own comparison
Scope = Literal["all", "site", "port", "operator", "month"]


@dataclass(frozen=True)
class VesselMonth:
    calls: int
    measured: int  # of them, with their energy
    energy_wh: int
    inputs: tuple[str, ...] = ()  # where the months' reports say it: `<report>:<vessel and use>`


@dataclass(frozen=True)
class Slice:
    """A month of a site, as far as it adds up. `missing`: no row of it."""

    site: str
    month: Month
    missing: bool
    coverage: Fraction
    complete: bool = False
    figures: Mapping[str, Figure] = field(default_factory=dict)
    locks: tuple[LockFacts, ...] = ()
    vessels: Mapping[str, VesselMonth] = field(default_factory=dict)
    origins: frozenset[str] = frozenset()
    has_meter: bool = False
    gateways: tuple[tuple[str, str], ...] = ()
    factors: tuple[Factor, ...] = ()
    rows_sha256: str = ""  # as in the manifest of the month's report
    figures_sha256: str = ""

    def names(self, key: str) -> str:
        """A figure of the month's report, from outside of it: `report-calais-2026-10:energy.import_wh`."""
        return f"{report_stem(self.site, str(self.month))}:{key}"

    def is_of(self, filed: Filed) -> bool:
        """Is that an issue of these rows and figures?"""
        return (filed.rows_sha256, filed.figures_sha256) == (self.rows_sha256, self.figures_sha256)


@dataclass(frozen=True)
class Rollup:
    """A period of some sites. `name`: of the group, or of the sites."""

    name: str
    period: Period
    perimeter: Perimeter
    slices: tuple[Slice, ...]
    locks: tuple[LockFacts, ...]  # each over the whole period, named site.lock
    targets: tuple[Target, ...] = ()
    options: Options = PLAIN

    @property
    def month(self) -> Period:
        """What stands on the cover."""
        return self.period

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s.site for s in self.slices))

    @property
    def site(self) -> str:
        """What stands where a month's report has its site."""
        return self.name

    @property
    def gateways(self) -> tuple[tuple[str, str], ...]:
        """Gateways of all sites, with the hashes of their site files."""
        found = {f"{s.site}/{name}": digest for s in self.slices for name, digest in s.gateways}
        return tuple(sorted(found.items()))

    @property
    def factors(self) -> tuple[Factor, ...]:
        found = {f.cited: f for s in self.slices for f in s.factors}
        return tuple(found[cited] for cited in sorted(found))

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(sorted({o for s in self.slices for o in s.origins}))

    @property
    def simulated(self) -> bool:
        return self.origins != ("real",)

    @property
    def missing(self) -> tuple[Slice, ...]:
        return tuple(s for s in self.slices if s.missing)

    @property
    def coverage(self) -> Fraction:
        """Of the time of all sites that have a meter; months without a row count as not covered."""
        metered = [s for s in self.slices if s.site in self.metered]
        return _share([(s, s.coverage) for s in metered], metered)

    @cached_property
    def metered(self) -> frozenset[str]:
        """Sites of which any month has a meter that counts."""
        return frozenset(s.site for s in self.slices if s.has_meter)

    @property
    def complete(self) -> bool:
        return all(s.complete for s in self.slices)

    def chosen(self, scope: Scope, name: str) -> list[Slice]:
        """Months of sites that belong to a part of the whole."""
        if scope == "all":
            return list(self.slices)
        of = {"port": self.perimeter.port_of, "operator": self.perimeter.operator_of}
        return [
            s for s in self.slices
            if (s.site if scope == "site" else str(s.month) if scope == "month" else of[scope](s.site)) == name
        ]  # fmt: skip

    def names(self, scope: Scope) -> tuple[str, ...]:
        """Parts of the whole, in order."""
        match scope:
            case "all":
                return ("",)
            case "site":
                return self.sites
            case "month":
                return tuple(str(m) for m in self.period.months)
            case "port":
                return self.perimeter.ports_of(self.sites)
            case "operator":
                return self.perimeter.operators_of(self.sites)

    def companies(self) -> dict[str, VesselMonth]:
        """Calls and energy by ship company; a vessel that no company names stands under `unknown`."""
        found: dict[str, VesselMonth] = {}
        for slice_ in self.slices:
            for vessel, month in slice_.vessels.items():
                company = self.perimeter.company_of(vessel)
                before = found.get(company, VesselMonth(0, 0, 0))
                found[company] = VesselMonth(
                    before.calls + month.calls,
                    before.measured + month.measured,
                    before.energy_wh + month.energy_wh,
                    before.inputs + month.inputs,
                )
        return dict(sorted(found.items()))

    def figures(self) -> tuple[Figure, ...]:
        """Every number by key, in one stable order."""
        return (*self._sums_of_all, *target_figures(self.deviations))

    @cached_property
    def _sums_of_all(self) -> tuple[Figure, ...]:
        return tuple(self._figures())

    @cached_property
    def deviations(self) -> tuple[Deviation, ...]:
        """From the targets of the group, or of a site that stands alone."""
        return deviations(self.targets, (self.name,), self.period, {f.key: f for f in self._sums_of_all})

    def _figures(self) -> Iterator[Figure]:
        scopes: tuple[Scope, ...] = ("all", "port", "operator", "site", "month")
        for scope in scopes:
            for name in self.names(scope):
                yield from self._sums(self.chosen(scope, name), {} if scope == "all" else {scope: name})
        for site in self.sites:
            for slice_ in self.chosen("site", site):
                yield from self._sums([slice_], {"site": site, "month": str(slice_.month)})
        yield from self._of_companies()
        for lock in self.locks:
            yield from self._of_lock(lock)
        yield from figures_of_group(self.locks)
        yield from self._progress()

    def _sums(self, slices: Sequence[Slice], parts: Mapping[str, str]) -> Iterator[Figure]:
        """Each figure over these months of sites; a month that is missing makes it a part of the whole."""
        for key in dict.fromkeys(key for s in slices for key in s.figures):
            found = [(s, s.figures[key]) for s in slices if key in s.figures]
            told = [(s, f) for s, f in found if f.value is not None]
            first = found[0][1]
            if first.coverage is None:  # it is there or it is not
                whole = [s for s in slices if s.missing or key in s.figures]
                covered = [(s, Fraction(1)) for s, _ in told]
            else:
                whole = [s for s in slices if s.site in self.metered]
                covered = [(s, f.coverage or Fraction(0)) for s, f in told]
            name, _, where = key.partition("/")
            yield Figure(
                key=key_of(name, **parts, **dict(pair.split("=") for pair in where.split(",") if pair)),
                value=sum(f.value or 0 for _, f in told) if told else None,
                unit=first.unit, perimeter=first.perimeter, formula="rollup.sum",
                factors=tuple(dict.fromkeys(factor for _, f in found for factor in f.factors)),
                coverage=_share(covered, whole), open=first.open, inputs=_inputs(found, key),
            )  # fmt: skip

    def _of_lock(self, lock: LockFacts) -> Iterator[Figure]:
        """Over the whole period, with the same figures of its months."""
        site, _, name = lock.device.partition(".")
        months = [s for s in self.chosen("site", site) if name in {k.device for k in s.locks} and not s.missing]
        for figure in figures_of_lock(lock):
            key = figure.key.replace(f"lock={lock.device}", f"lock={name}")
            yield replace(figure, rows=(), inputs=(*figure.inputs, *(s.names(key) for s in months)))

    def _of_companies(self) -> Iterator[Figure]:
        for company, found in self.companies().items():
            energy_wh = found.energy_wh if found.measured else None
            coverage = Fraction(found.measured, found.calls)
            for name, value, unit, seen in (
                ("calls", found.calls, "count", None), ("energy_wh", energy_wh, "Wh", coverage),
            ):  # fmt: skip
                yield Figure(
                    key=key_of(f"company.{name}", company=company), value=value, unit=unit, perimeter="company",
                    formula=f"rollup.company_{name}", coverage=seen,
                    inputs=tuple(ship.replace(":", f":ship.{name}/", 1) for ship in found.inputs),
                )  # fmt: skip

    def _progress(self) -> Iterator[Figure]:
        """How teleoperation came along, month by month, over all locks."""
        for month in self.names("month") if self.locks else ():
            locks = [(s, lock) for s in self.chosen("month", month) for lock in s.locks]
            shares = [lock.modes["REMOTE"] for _, lock in locks]
            share = sum((s for s in shares if s is not None), Share(0, 0, 0))
            yield Figure(
                key=key_of("locks.remote_share", month=month), value=share.value, unit="1", perimeter="locks",
                formula="lock.locks_remote_share", coverage=share.coverage, open=True,
                inputs=tuple(
                    s.names(key_of("lock.remote_share", lock=k.device)) for s, k in locks if not s.missing
                ),
            )  # fmt: skip


def roll_up(
    store: Store, book: Book, period: str, sites: Sequence[str], perimeter: Perimeter, name: str = "",
    options: Options = PLAIN,
) -> Rollup:  # fmt: skip
    """Reckon every month of every site and add up.

    Args:
        period: 2026-10, 2026-H2 or 2026; each site's months lie in its own time zone.
        sites: Their names, in the order of the report.
        name: Of the group; the sites' names if left out.

    Raises: WrongInput (no such period or site), NoData (no row of any site).
    """
    slices, locks = [], []
    for site in sites:
        when = Period.parse(period, site_settings(book.catalogues(site))["timezone"])
        months = [month_of(store, book, site, month, options) for month in when.months]
        slices += months
        before = when.before()
        locks += [over(months, lock, cycles_in(store, site, lock, before)) for lock in lock_names(months)]
    when = Period.parse(period, site_settings(book.catalogues(sites[0]))["timezone"])
    targets = parse_targets(options.targets) if options.targets else ()
    found = Rollup(name or ", ".join(sites), when, perimeter, tuple(slices), tuple(locks), targets, options)
    if len(found.missing) == len(found.slices):
        raise NoData(
            f"{found.name} has no row in {period}: none of {', '.join(sites)} has a minute, call or lockage;"
            " see `bollard report` of a single month for where their rows lie"
        )
    return found


def month_of(store: Store, book: Book, site: str, month: Month, options: Options) -> Slice:
    """Reckon a month of a site and keep what adds up."""
    recorder = Recorder(store, book, site, str(month), options)
    try:
        report = build(cast(Store, recorder), cast(Book, recorder), str(month), site, options)  # it only reads
    except NoData:
        locks = tuple(lock.facts for lock in read_locks(store, book, site, month))  # their time is not seen
        return Slice(site, month, missing=True, coverage=Fraction(0), locks=locks)
    stem = report_stem(site, str(month))
    vessels = {
        vessel: _vessel(
            [c.energy_wh for c in report.calls if c.vessel == vessel],
            [f"{stem}:{ship_key('', s).partition('/')[2]}" for s in report.ships.ships if s.vessel == vessel],
        )
        for vessel in sorted({c.vessel for c in report.calls})
    }
    return Slice(
        site, month, missing=False, coverage=report.coverage, complete=report.complete, figures=_adding(report),
        locks=tuple(lock.facts for lock in report.locks), vessels=vessels, origins=frozenset(report.origins),
        has_meter=bool(report.counted), gateways=report.gateways, factors=report.factors,
        rows_sha256=rows_hash(recorder.answers), figures_sha256=lines_hash(figure_lines(report)),
    )  # fmt: skip


def _vessel(energies_wh: Sequence[int | None], inputs: Sequence[str]) -> VesselMonth:
    known = [wh for wh in energies_wh if wh is not None]
    return VesselMonth(len(energies_wh), len(known), sum(known), tuple(inputs))


def _adding(report: Report) -> dict[str, Figure]:
    """The site's figures that add up over time and sites."""
    found: dict[str, list[Figure]] = {}
    for figure in report.figures():
        name, _, where = figure.key.partition("/")
        parts = dict(part.partition("=")[::2] for part in where.split(",") if part)
        parts.pop(FOLDED, None)
        if name == "earlier.import_wh" and parts.get("what") == "year":
            name, parts = YEAR_BEFORE, {}
        sums = name in (*SUMS, YEAR_BEFORE) or any(
            name.startswith(a) and name.endswith(b) for a, b in SUM_ENDINGS.items()
        )
        if sums and not parts.keys() & set(APART):
            found.setdefault(key_of(name, **parts), []).append(figure)
    return {key: _folded(key, figures) for key, figures in found.items()}


def _folded(key: str, figures: Sequence[Figure]) -> Figure:
    """The delivery points of a site as one; not measured where one of them is not."""
    values = [f.value for f in figures]
    known = [v for v in values if v is not None]
    coverage = [f.coverage for f in figures if f.coverage is not None]
    return replace(
        figures[0], key=key, value=sum(known) if len(known) == len(values) else None,
        inputs=tuple(f.key for f in figures),
        factors=tuple(dict.fromkeys(factor for f in figures for factor in f.factors)),
        coverage=min(coverage, default=None),
    )  # fmt: skip


def _inputs(found: Sequence[tuple[Slice, Figure]], key: str) -> tuple[str, ...]:
    """Of a month of a site: its own report's figures; of a sum: the months of sites that it adds up."""
    if len(found) == 1:
        slice_, figure = found[0]
        return tuple(slice_.names(name) for name in figure.inputs)
    name, _, where = key.partition("/")
    parts = dict(pair.split("=") for pair in where.split(",") if pair)
    return tuple(key_of(name, site=s.site, month=s.month, **parts) for s, _ in found)


def _share(parts: Sequence[tuple[Slice, Fraction]], whole: Sequence[Slice]) -> Fraction:
    """Of the time of the whole, what the parts cover."""
    seconds = sum(s.month.seconds for s in whole)
    covered = sum((share * s.month.seconds for s, share in parts), Fraction(0))
    return covered / seconds if seconds else Fraction(0)


def lock_names(months: Sequence[Slice]) -> list[str]:
    return sorted({lock.device for s in months for lock in s.locks})


def over(months: Sequence[Slice], lock: str, before: Mapping[str, CycleTimes | MeanTime]) -> LockFacts:
    """A lock over its site's months; the period before is not the months before each of them."""
    facts = together([k for s in months for k in s.locks if k.device == lock])
    return replace(facts, device=f"{months[0].site}.{lock}", before=before)
