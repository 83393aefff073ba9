"""Calls at the berths: each with its energy, and beside the minutes of its meter.

A month of few calls lists them in its section, one of many in an annex; of thousands the data files tell.
"""

from collections.abc import Sequence
from fractions import Fraction

from gateway.report.blocks import columns, drawn, without_unmeasured
from gateway.report.calls import Call
from gateway.report.document import Block, Heading, Paragraph, Table
from gateway.report.figures import charge
from gateway.report.figures_calls import call_key
from gateway.report.month import NS
from gateway.report.words import Words

FEW = 40  # listed in the section itself, some two pages
MOST = 1000  # listed in the annex, some thirty pages


def calls(w: Words) -> list[Block]:
    r = w.report
    blocks: list[Block] = [Heading(w("calls.heading"))]
    if not r.calls:
        return [*blocks, Paragraph(w("calls.none"))]
    if len(r.calls) <= FEW:
        blocks += _list(w, r.calls)
    else:
        where = "annex_at" if len(r.calls) <= MOST else "too_many"
        lasted_s = sum(c.end_ns - c.start_ns for c in r.calls) // NS
        agreeing = sum(c.agrees is True for c in r.calls)
        blocks.append(Paragraph(w(f"calls.{where}", n=len(r.calls), time=w.t.duration(lasted_s), agrees=agreeing)))
    blocks += [Paragraph(w("calls.note")), *drawn(charge(w))]
    if len(r.calls) <= FEW:
        blocks.append(_checks(w, w("check.caption"), r.calls))
    elif odd := [c for c in r.calls if c.agrees is not True]:
        blocks.append(_checks(w, w("check.odd"), odd[:MOST]))
    return [*blocks, *_sums(w)]


def calls_annex(w: Words) -> list[Block]:
    """Every call of a month that has more than its section takes."""
    found = w.report.calls
    if not FEW < len(found) <= MOST:
        return []
    return [Heading(w("calls.annex")), *_list(w, found), _checks(w, w("check.caption"), found)]


def _list(w: Words, found: Sequence[Call]) -> list[Block]:
    rows = [_call(w, c) for c in found]
    if len(rows) > 1:
        total = sum(c.energy_wh or 0 for c in found)
        rows.append([w("calls.total"), "", "", "", "", w.kwh(total), *[""] * 5])
    header = columns(
        w, "calls",
        "start end berth vessel duration> energy>"
        " peak> interruptions> soc_start> soc_end> covered>",
    )  # fmt: skip
    table = Table(
        w("calls.caption"), header, rows, total=len(found) > 1,
        names=("", "", "", "", "call.duration_s", "call.energy_wh", "call.peak_10min_w"),
        where=[*(call_key("", c).partition("/")[2] for c in found), *[""] * (len(found) > 1)],
    )  # fmt: skip
    thin, gone = without_unmeasured(w, table)
    return [thin, *([Paragraph(w("calls.unmeasured", names=", ".join(gone)))] if gone else [])]


def _checks(w: Words, caption: str, found: Sequence[Call]) -> Table:
    rows = [
        [w.at(c.start_ns), c.meter, w.kwh_or_none(c.register_open_wh), w.kwh_or_none(c.register_close_wh),
         w.kwh_or_none(c.energy_wh), w.kwh(c.minutes_low_wh), w.kwh(c.minutes_high_wh),
         w(f"check.{verdict(c)}", n=c.minutes_missing)]
        for c in found
    ]  # fmt: skip
    header = columns(w, "check", "start meter opening> closing> energy> low> high> agrees")
    return Table(caption, header, rows)


def _sums(w: Words) -> list[Block]:
    sums = [
        [x.meter, w.kwh(x.minutes_wh), w.kwh(x.calls_wh), w.kwh(x.difference_wh), w.kwh(x.outside_wh),
         w.kwh(x.edges_wh)]
        for x in w.report.reconciliations
    ]  # fmt: skip
    if not sums:
        return []
    header = columns(w, "sums", "meter minutes> calls> difference> outside> edges>")
    return [Table(w("sums.caption"), header, sums), Paragraph(w("sums.note"))]


def ends_unseen(w: Words, call: Call) -> list[str]:
    """What to say of a call whose begin or end lies in an outage."""
    at_most = w("reserve.unbounded") if call.unseen_s is None else w.t.duration(round(call.unseen_s))
    return [
        w(f"reserve.call_{end}_unseen", berth=call.berth, at=w.at(call.start_ns), seconds=at_most)
        for end, known in (("begin", call.begin_known), ("end", call.end_known))
        if not known
    ]


def verdict(call: Call) -> str:
    if call.energy_wh is None:
        return "unknown"
    return "open" if call.agrees is None else "agrees" if call.agrees else "differs"


def _call(w: Words, c: Call) -> list[str]:
    def soc(value: float | None) -> str:
        return w("not_measured") if value is None else w.t.percent(Fraction(value), 1)

    lasted_s = (c.end_ns - c.start_ns) // NS
    covered = w("not_measured") if c.covered is None else w.t.percent(c.covered, 1)
    return [
        w.at(c.start_ns), w.at(c.end_ns), c.berth,
        w("calls.unknown_vessel") if c.vessel == "unknown" else c.vessel,
        w.t.duration(lasted_s), w.kwh_or_none(c.energy_wh),
        w("not_measured") if c.peak_10min is None else w.kw(c.peak_10min),
        w("not_measured") if c.interruptions is None else str(c.interruptions),
        soc(c.soc_start), soc(c.soc_end),
        covered if c.unseen_s is not None else f"≤\u00a0{covered}",
    ]  # fmt: skip
