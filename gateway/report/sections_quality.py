"""Quality in words: what keeps the report from being whole, uncertainty, outages, corrections, comparisons."""

from fractions import Fraction

from gateway.report.blocks import columns
from gateway.report.document import Block, Heading, Paragraph, Table
from gateway.report.figure import key_of
from gateway.report.model import WHOLE_ENOUGH
from gateway.report.month import NS
from gateway.report.problems import Problem
from gateway.report.quality import Earlier, Outage, combined
from gateway.report.words import Words

MOST_ALIKE = 10  # problems of one kind that are named one by one
MOST_GAPS = 20  # longest first; the rest is summed


def problem_text(w: Words, problem: Problem) -> str:
    values = {
        name: w.at(value) if name.endswith("at_ns") and isinstance(value, int) else value
        for name, value in problem.values.items()
    }
    if isinstance(problem.values.get("wh"), int):
        values["wh"] = w.kwh_unit(int(str(problem.values["wh"])))
    return w(f"problem.{problem.code}", **values)


def problem_texts(w: Words) -> list[str]:
    """What makes the report incomplete, a sentence each; of many alike the first, and how many more there are."""
    found = []
    for code in dict.fromkeys(p.code for p in w.report.problems):
        alike = [p for p in w.report.problems if p.code == code]
        found += [problem_text(w, problem) for problem in alike[:MOST_ALIKE]]
        if len(alike) > MOST_ALIKE:
            found.append(w("reserve.more_alike", n=len(alike) - MOST_ALIKE))
    return found


def problem_reserves(w: Words) -> list[str]:
    """First of all reservations."""
    found = problem_texts(w)
    found += [w("reserve.supply", point=p.meter) for p in w.report.port.points if p.supply is None]
    found += [w("reserve.corrected", meter=c.meter, n=c.minutes) for c in w.report.quality.corrections]
    unsure = [f for f in w.report.factors if not f.verified]
    return found + [w("reserve.unverified", id=f.id, source=f.source) for f in unsure]


def quality_sections(w: Words) -> list[Block]:
    blocks: list[Block] = [Heading(w("quality.heading"))]
    if w.report.meters:
        blocks += [_uncertainty(w), Paragraph(w("quality.formula"))]
    blocks += [*_checks(w), *_replacements(w), *_corrections(w), *_earlier(w)]
    return blocks


def _uncertainty(w: Words) -> Table:
    quality, rows = w.report.quality, []
    for m in w.report.meters:
        uncertainty = quality.uncertainties[m.device]
        classes = [w("quality.no_class") if p is None else f"{w.t.factor(p)} %" for p in uncertainty.percents]
        rows.append([m.device, *classes, _percent(w, uncertainty.expanded)])
    counted = w.report.counted
    total = combined((m.import_wh, quality.uncertainties[m.device].expanded) for m in counted) if counted else None
    several = len(counted) > 1
    if several:
        rows.append([w("energy.total"), "", "", "", _percent(w, total)])
    header = columns(w, "uncertainty", "meter meter_class> ct> vt> expanded>")
    where = [*(f"meter={m.device}" for m in w.report.meters), *[""] * several]
    names = ("", "", "", "", "uncertainty.expanded")
    return Table(w("quality.caption"), header, rows, total=several, names=names, where=where)


def _percent(w: Words, share: Fraction | None) -> str:
    return w("quality.not_known") if share is None else f"± {w.t.number(share * 100, 3)} %"


def _checks(w: Words) -> list[Block]:
    checks = w.report.quality.checks
    if not checks:
        return []
    rows = [
        [c.meter, str(c.calls), w.kwh(c.register_wh), w.kwh_exact(c.integrated_wh),
         w("none") if c.difference is None else f"{w.t.number(c.difference * 100, 2)} %",
         w("none") if c.agrees is None else w("quality.within" if c.agrees else "quality.beyond")]
        for c in checks
    ]  # fmt: skip
    header = columns(w, "cross", "meter calls> register> integrated> difference> verdict")
    names = ("", "", "", "check.integrated_wh", "check.difference")
    where = [f"meter={c.meter}" for c in checks]
    return [
        Table(w("quality.cross_caption"), header, rows, names=names, where=where),
        Paragraph(w("quality.cross_note")),
    ]


def _replacements(w: Words) -> list[Block]:
    found = w.report.quality.replacements
    if not found:
        return []
    rows = [
        [r.meter, w.at(r.at_ns, seconds=True),
         w.kwh_or_none(r.closing_import_wh), w.kwh_or_none(r.opening_import_wh),
         w("quality.site_file") if r.source == "site_file" else w("quality.journal", number=r.source), r.reason]
        for r in found
    ]  # fmt: skip
    header = columns(w, "replaced", "meter at closing> opening> source reason")
    return [Table(w("quality.replaced_caption"), header, rows)]


def _corrections(w: Words) -> list[Block]:
    found = w.report.quality.corrections
    if not found:
        return [Paragraph(w("quality.no_corrections"))]
    rows = [
        [c.meter, str(c.minutes), w.kwh(c.first_wh), w.kwh(c.now_wh), w.kwh(c.difference_wh), str(c.newest)]
        for c in found
    ]
    header = columns(w, "corrected", "meter minutes> first> now> difference> revision>")
    return [Table(w("quality.corrected_caption"), header, rows)]


def _earlier(w: Words) -> list[Block]:
    found = w.report.quality.earlier
    rows = [_then(w, then) for then in found]
    header = columns(w, "earlier", "month energy> coverage> change>")
    keys = [
        key_of("earlier.import_wh", what=t.what, month=t.month).partition("/")[2] for t in w.report.quality.earlier
    ]
    return [Table(w("quality.earlier_caption"), header, rows, names=("", "earlier.import_wh"), where=keys)]


def _then(w: Words, then: Earlier) -> list[str]:
    now_wh = w.report.import_wh
    change = w("none")
    if then.import_wh and now_wh is not None and min(then.coverage, w.report.coverage) >= WHOLE_ENOUGH:
        change = f"{w.t.number(Fraction(now_wh - then.import_wh, then.import_wh) * 100, 1)} %"
    return [
        w.t.month(then.month.year, then.month.month), w.kwh_or_none(then.import_wh),
        w("none") if then.import_wh is None else w.t.percent(then.coverage, 2), change,
    ]  # fmt: skip


def outage_sections(w: Words) -> list[Block]:
    found = w.report.quality.outages
    if not found:
        return [Heading(w("gaps.heading")), Paragraph(w("gaps.none"))]
    longest = sorted(found, key=lambda o: (-o.gap.missing_ns, o.gap.start_ns))[:MOST_GAPS]
    rows = [_outage(w, o) for o in sorted(longest, key=lambda o: (o.meter, o.gap.start_ns))]
    header = columns(w, "gaps", "meter start stop minutes> missing> estimated> reason")
    blocks: list[Block] = [Heading(w("gaps.heading")), Table(w("gaps.caption"), header, rows)]
    if len(found) > MOST_GAPS:
        rest_ns = sum(o.gap.missing_ns for o in found) - sum(o.gap.missing_ns for o in longest)
        seconds = w.t.number(Fraction(rest_ns, NS), 1)
        blocks.append(Paragraph(w("gaps.more", n=len(found) - MOST_GAPS, seconds=seconds)))
    return blocks


def _outage(w: Words, o: Outage) -> list[str]:
    gap = o.gap
    return [
        o.meter, w.at(gap.start_ns), w.at(gap.stop_ns), str((gap.stop_ns - gap.start_ns) // (60 * NS)),
        w.t.number(Fraction(gap.missing_ns, NS), 1), w.kwh(o.estimated_wh), w(f"outage.{o.reason}"),
    ]  # fmt: skip
