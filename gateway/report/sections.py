"""Figures put into words: a report and a language become the blocks of a document."""

from collections.abc import Callable
from fractions import Fraction

from gateway.report.blocks import columns, drawn
from gateway.report.calls import Call
from gateway.report.co2 import Line
from gateway.report.document import (
    PROVISIONAL,
    Block,
    Bullets,
    Document,
    Edition,
    Facts,
    Heading,
    Paragraph,
    Table,
)
from gateway.report.energy import WINDOW_NS, MeterMonth
from gateway.report.factors import Factor
from gateway.report.figure import key_of
from gateway.report.figures import MOST_METERS, daily_bars, duration, peak_windows, power_bars, site_load
from gateway.report.figures_carbon import carbon_key
from gateway.report.ledger import deviations_of
from gateway.report.lock_charts import lock_charts
from gateway.report.model import WHOLE_ENOUGH, Report
from gateway.report.sections_calls import calls, calls_annex, ends_unseen, verdict
from gateway.report.sections_hourly import hourly_section
from gateway.report.sections_issues import issues
from gateway.report.sections_locks import lock_reserves, lock_sections
from gateway.report.sections_port import port_sections
from gateway.report.sections_quality import outage_sections, problem_reserves, quality_sections
from gateway.report.sections_ships import ship_sections
from gateway.report.sections_targets import target_section
from gateway.report.words import Words
from gateway.texts import Texts

MOST_OF_CALLS = 30  # reservations; the rest is counted


def compose(report: Report, texts: Texts, edition: Edition = PROVISIONAL) -> Document:
    """The whole document, section by section."""
    w = Words(report, texts, edition)
    sections: tuple[Callable[[Words], list[Block]], ...] = (
        _header, _essentials, _reservations, _energy, _peaks, port_sections, calls, ship_sections, _locks,
        _carbon, hourly_section, _targets, quality_sections, outage_sections, issues, _method, calls_annex,
    )  # fmt: skip
    return Document(
        lang=texts.lang,
        title=w("title", site=report.site, month=w.month),
        site=report.site,
        month=w.month,
        status=w.status,
        coverage=w.t.percent(report.coverage, 2) if report.counted or not report.metered else w("not_measured"),
        mark=w("mark") if report.simulated else None,
        warning=w("simulated", origins=", ".join(report.origins)) if report.simulated else None,
        blocks=tuple(block for section in sections for block in section(w)),
        foot=w("foot"),
    )


def _targets(w: Words) -> list[Block]:
    return target_section(w, deviations_of(w.report, w.report.figures()))


def _header(w: Words) -> list[Block]:
    r = w.report
    gateways = "; ".join(f"{name} ({w('site_file', hash=digest)})" for name, digest in r.gateways)
    bounds = w(
        "header.bounds",
        month=w.month,
        start=w.at(r.month.start_ns),
        stop=w.at(r.month.stop_ns),
        zone=r.month.timezone,
        hours=w.t.number(Fraction(r.month.seconds, 3600)),
    )
    pairs = [
        (w("header.site"), r.site),
        (w("header.month"), bounds),
        (w("header.status"), w.status),
        (w("header.data"), w("header.span", start=w.at(r.first_ns), stop=w.at(r.stop_ns))),
        (w("header.gateways"), gateways or w("none")),
        (w("header.counted"), ", ".join(m.device for m in r.counted) or w("none")),
    ]  # fmt: skip
    return [Facts(pairs)]


def _essentials(w: Words) -> list[Block]:
    r = w.report
    rows: list[tuple[str, str, str]] = []  # name, value, key
    if r.counted:
        total = w("not_measured") if r.import_wh is None else w.kwh_unit(r.import_wh)
        rows.append((w("essentials.import"), total, "energy.import_wh"))
    rows += [
        (w("essentials.peak", meter=m.device), w.peak_at(m.peak), key_of("peak.power_w", meter=m.device))
        for m in r.counted
    ]
    calls_wh = sum(c.energy_wh or 0 for c in r.calls)
    value = w("essentials.calls_value", n=len(r.calls), energy=w.kwh_unit(calls_wh))
    rows.append((w("essentials.calls"), value, "calls.energy_wh"))
    rows += [
        (w("essentials.lockages", lock=lock.device), str(lock.facts.total), key_of("lock.total", lock=lock.device))
        for lock in r.locks
        if lock.facts.total
    ]
    for line in r.carbon.lines:
        if line.subject in ("grid_site", "avoided", "net"):
            mass = w.t.quantity(line.co2_kg, f"kg {w.gas(line.gas)}", 1)
            rows.append((w(f"co2.{line.subject}"), mass, carbon_key(line)))
    rows.append((w("essentials.coverage"), w.t.percent(r.coverage, 2), "coverage.month"))
    return [Heading(w("essentials.heading")), Facts([row[:2] for row in rows], [row[2] for row in rows])]


def _reservations(w: Words) -> list[Block]:
    """All that a reader must know before believing a figure; nothing here is left to the small print."""
    r, found = w.report, problem_reserves(w)
    if r.metered and not r.counted:
        found.append(w("reserve.no_meter"))
    found += [w("reserve.unsigned", meter=name) for name in r.unsigned]
    found += [
        w("reserve.starts", meter=m.device, at=w.at(m.first_ns))
        for m in r.counted
        if m.first_ns > r.month.start_ns
    ]
    if r.stop_ns < r.month.stop_ns:
        found.append(w("reserve.ends", at=w.at(r.stop_ns)))
    if r.coverage < WHOLE_ENOUGH:
        found.append(w("reserve.coverage", seen=w.t.percent(r.coverage, 2), least=w.t.percent(WHOLE_ENOUGH, 0)))
    for m in r.counted:
        if m.estimated_wh:
            found.append(w("reserve.estimated", meter=m.device, energy=w.kwh_unit(m.estimated_wh)))
        if m.windows_incomplete:
            n, of = m.windows_incomplete, m.windows_expected
            found.append(w("reserve.windows", meter=m.device, n=n, of=of))
    of_calls = [text for call in r.calls for text in _of_call(w, call)]
    found += of_calls[:MOST_OF_CALLS]
    if len(of_calls) > MOST_OF_CALLS:
        found.append(w("reserve.more_calls", n=len(of_calls) - MOST_OF_CALLS))
    found += [w(f"reserve.{x.reason}", berth=x.berth, baseline=x.baseline, use=x.use) for x in r.carbon.refusals]
    grid = r.carbon.grid
    if r.metered and grid.year != str(r.month.year) and not any(p.code == "factor_year" for p in r.problems):
        found.append(w("reserve.year", id=grid.id, year=grid.year, wanted=r.month.year))
    found += lock_reserves(w, [lock.facts for lock in r.locks])
    return [Heading(w("reserve.heading")), Bullets(found) if found else Paragraph(w("reserve.none"))]


def _of_call(w: Words, call: Call) -> list[str]:
    found = ends_unseen(w, call)
    if call.agrees is not True:
        key = f"reserve.call_{verdict(call)}"
        found.insert(0, w(key, berth=call.berth, at=w.at(call.start_ns), n=call.minutes_missing))
    return found


def _energy(w: Words) -> list[Block]:
    r = w.report
    if not r.meters:
        return [Heading(w("energy.heading")), Paragraph(w("not_measured_why", why=w("energy.no_meter")))]
    rows = [
        [_meter(w, m), w.kwh_or_none(m.known_import_wh), w.kwh_or_none(m.known_export_wh),
         _share(w, m, m.measured_wh), _share(w, m, m.integrated_wh), _share(w, m, m.estimated_wh),
         w.t.percent(m.coverage_month, 2), w.t.percent(m.coverage_span, 2)]
        for m in r.meters
    ]  # fmt: skip
    if len(r.counted) > 1:
        exported = sum(m.export_wh for m in r.counted)
        total = [w("energy.total"), w.kwh_or_none(r.import_wh), w.kwh(exported), "", "", ""]
        rows.append([*total, w.t.percent(r.coverage, 2), ""])
    header = columns(
        w, "energy",
        "meter import> export> measured> integrated>"
        " estimated> coverage_month> coverage_span>",
    )  # fmt: skip
    blocks: list[Block] = [
        Heading(w("energy.heading")),
        Table(
            w("energy.caption"), header, rows, total=len(r.counted) > 1,
            names=("", "energy.import_wh", "energy.export_wh", "", "", "", "coverage.month"),
            where=[*(f"meter={m.device}" for m in r.meters), *[""] * (len(r.counted) > 1)],
        ),
        Paragraph(w("energy.coverage_note", stop=w.at(r.meters[0].span_stop_ns))),
    ]  # fmt: skip
    blocks += drawn(site_load(w), *(daily_bars(w, m) for m in r.counted[:MOST_METERS]), duration(w))
    return [*blocks, *_registers(w)]


def _registers(w: Words) -> list[Block]:
    rows, where = [], []
    for m in w.report.meters:
        for s in m.registers:
            difference = s.difference_wh
            where.append(f"meter={m.device},direction={s.direction},epoch={s.epoch}")
            rows.append([
                m.device, w(f"registers.{s.direction}"), str(s.epoch), w.kwh(s.opening.wh),
                w.at(s.opening.t_ns, seconds=True), w.kwh(s.closing.wh), w.at(s.closing.t_ns, seconds=True),
                w("registers.wrapped") if difference is None else w.kwh(difference), w.kwh(s.minutes_wh),
                "" if difference is None else w.kwh(s.minutes_wh - difference),
            ])  # fmt: skip
        unseen = [d for d in ("import", "export") if not any(s.direction == d for s in m.registers)]
        rows += [
            [m.device, w(f"registers.{d}"), "", w("not_measured"), "", w("not_measured"), *[""] * 4]
            for d in unseen
        ]
        where += [""] * len(unseen)
    header = columns(
        w, "registers",
        "meter direction epoch> opening> opening_at closing>"
        " closing_at difference> minutes> gap>",
    )  # fmt: skip
    names = [""] * len(header)
    names[3], names[5], names[7] = (f"register.{name}_wh" for name in ("opening", "closing", "difference"))
    table = Table(w("registers.caption"), header, rows, names=names, where=where)
    return [table, Paragraph(w("registers.note"))]


def _peaks(w: Words) -> list[Block]:
    if not w.report.meters:
        return []
    rows = [
        [m.device, w.kw(m.peak), w.at(m.peak.start_ns), w.at(m.peak.start_ns + WINDOW_NS),
         w("peaks.whole") if m.peak.complete else w("peaks.bound"),
         w("peaks.count", n=m.windows_incomplete, of=m.windows_expected)]
        for m in w.report.meters
    ]  # fmt: skip
    header = columns(w, "peaks", "meter power> start stop kind incomplete")
    meters = w.report.counted[:MOST_METERS]
    where = [f"meter={m.device}" for m in w.report.meters]
    return [
        Heading(w("peaks.heading")),
        Table(w("peaks.caption"), header, rows, names=("", "peak.power_w"), where=where),
        *drawn(*(power_bars(w, m) for m in meters), *(peak_windows(w, m) for m in meters)),
        Paragraph(w("peaks.note")),
    ]


def _locks(w: Words) -> list[Block]:
    return [*lock_sections(w, [lock.facts for lock in w.report.locks]), *lock_charts(w)]


def _carbon(w: Words) -> list[Block]:
    lines = w.report.carbon.lines
    rows = [
        [w(f"co2.{x.subject}"), w.kwh(x.energy_wh), _chain(w, x), w.t.number(x.co2_kg, 1), w.gas(x.gas),
         w(f"perimeter.{x.perimeter}")]
        for x in lines
    ]  # fmt: skip
    blocks: list[Block] = [Heading(w("co2.heading"))]
    if w.report.import_wh is None:
        blocks.append(Paragraph(w("co2.no_grid")))
    if rows:
        header = columns(w, "co2", "line energy> factor kg> gas perimeter")
        keys = [carbon_key(line) for line in lines]  # the quantity differs by row: the whole key stands there
        blocks.append(Table(w("co2.caption"), header, rows, where=keys))
    if not any(line.subject == "avoided" for line in lines):
        blocks.append(Paragraph(w("co2.no_avoided" if w.report.calls else "co2.no_call")))
    factors = [
        [f.id, w.t.factor(f.value), f.unit, w(f"perimeter.{f.perimeter}"), f.region, f.year,
         w(f"certainty.{f.certainty}"), f.source]
        for f in w.report.factors
    ]  # fmt: skip
    header = columns(w, "factors", "id value> unit perimeter region year certainty source")
    return [*blocks, Paragraph(w("co2.note")), Table(w("factors.caption"), header, factors)]


def _chain(w: Words, line: Line) -> str:
    """The factors of a line and, where there are two, their product."""
    if line.subject == "net":
        return w("co2.net_of")

    def named(factor: Factor) -> str:
        return f"{w.t.factor(factor.value)} ({factor.id}{w.unverified(factor)})"

    if len(line.factors) == 1:
        return named(line.factors[0])
    efficiency = line.replaced.efficiency if line.replaced else Fraction(1)
    parts = [w.t.factor(efficiency)] if efficiency != 1 else []
    product = efficiency * line.factors[0].value * line.factors[1].value
    return f"{' × '.join([*parts, *(named(f) for f in line.factors)])} = {w.t.factor(product)}"


def _method(w: Words) -> list[Block]:
    names = ("energy", "coverage", "peak", "calls", "co2", "rounding", "time")
    return [Heading(w("method.heading")), Bullets([w(f"method.{name}") for name in names])]


def _meter(w: Words, m: MeterMonth) -> str:
    about = [w(f"role.{m.role}")]
    about += [w("energy.serial", serial=m.serial)] if m.serial else []
    about += [w("energy.class", name=m.accuracy_class)] if m.accuracy_class else []
    about += [] if m.counted else [w("energy.not_counted")]
    return f"{m.device} ({', '.join(about)})"


def _share(w: Words, m: MeterMonth, part_wh: int) -> str:
    share = m.share(part_wh)
    return w("none") if share is None else w.t.percent(share, 2)
