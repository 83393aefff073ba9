"""What the charts of a report show."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gateway.report import chart
from gateway.report.document import Drawing
from gateway.report.energy import MINUTE_NS, WINDOW_NS, MeterMonth
from gateway.report.month import NS
from gateway.report.words import Words
from gateway.texts import local

HOUR_NS = 3600 * NS
HALF_HOUR_NS = HOUR_NS // 2
SHORT_NS = 3 * 86_400 * NS  # up to here windows of ten minutes are drawn, beyond it hours
MOST_WINDOWS = 144  # a day of ten minutes; beyond that days are shown
MOST_CALLS = 62  # two a day; beyond that the calls' charge is drawn as a distribution
MOST_METERS = 3  # that have charts of their own
PEAKS = 10
SOC_CLASSES = 10


def power_bars(w: Words, meter: MeterMonth) -> Drawing | None:
    """Mean power of each 10-minute window, where the data span a day at most."""
    if meter.windows_expected > MOST_WINDOWS:
        return None
    found = {v.start_ns: v for v in meter.windows}
    first_ns = meter.windows[0].start_ns
    starts = [first_ns + i * WINDOW_NS for i in range(meter.windows_expected)]
    values = [found[t].power_w / 1000 if t in found else 0.0 for t in starts]
    caption = w("figure.power", meter=meter.device, day=w.t.date(first_ns, w.report.month.zone))
    svg = chart.bars(
        caption, "kW", ticks(w, max(values)),
        [f"{local(t, w.report.month.zone):%H:%M}" for t in starts], values,
        [t not in found or not found[t].complete for t in starts], w("figure.pale_power"),
    )  # fmt: skip
    return Drawing(caption, w("figure.power_alt", peak=w.peak_at(meter.peak), n=len(starts)), svg)


def daily_bars(w: Words, meter: MeterMonth) -> Drawing | None:
    """Imported energy of each local day, where the data span several. Pale: not fully covered."""
    minutes, zone = w.report.minutes[meter.device], w.report.month.zone
    first, last = local(meter.first_ns, zone), local(meter.span_stop_ns - 1, zone)
    days = range(first.day, last.day + 1)
    if len(days) < 2:
        return None
    start = first.replace(hour=0, minute=0, second=0, microsecond=0)
    midnights = [int((start + timedelta(days=i)).timestamp()) * NS for i in range(len(days) + 1)]
    parts = list(pairwise(np.searchsorted(minutes.t_ns, midnights)))
    values = [int(minutes.import_wh[a:b].sum()) / 1e6 for a, b in parts]
    covered_ns = [int(minutes.covered_ns[a:b].sum()) for a, b in parts]
    whole = [c >= b - a for c, (a, b) in zip(covered_ns, pairwise(midnights), strict=True)]
    caption = w("figure.daily", meter=meter.device)
    svg = chart.bars(
        caption, "MWh", ticks(w, max(values)), [str(d) for d in days], values,
        [not ok for ok in whole], w("figure.pale_day"),
    )  # fmt: skip
    most = max(range(len(values)), key=values.__getitem__)
    alt = w(
        "figure.daily_alt", n=len(values), whole=sum(whole), day=days[most],
        most=w.t.quantity(Fraction(values[most]), "MWh", 3),
    )  # fmt: skip
    return Drawing(caption, alt, svg)


def site_load(w: Words) -> Drawing | None:
    """Mean power of the site over the month, and when ships were at berth."""
    r = w.report
    if not r.counted:
        return None
    span_ns = r.counted[0].span_stop_ns - min(m.first_ns for m in r.counted)
    short = span_ns <= SHORT_NS
    step_ns = WINDOW_NS if short else HALF_HOUR_NS
    first_ns, values = _site_power_kw(w, step_ns, None if short else _midnight_ns(w))
    spans = [((c.start_ns - first_ns) / step_ns, (c.end_ns - first_ns) / step_ns) for c in r.calls]
    within = _joined((max(a, 0.0), min(b, float(len(values)))) for a, b in spans if b > 0 and a < len(values))
    known = [v for v in values if v is not None]
    caption = w("figure.load", minutes=step_ns // MINUTE_NS)
    alt = w("figure.load_alt", n=len(r.calls), most=w.t.quantity(Fraction(max(known)), "kW", 1))
    scale = ticks(w, max(known))
    labels = month_labels(w, first_ns, step_ns, len(values))
    named = w("figure.at_berth")
    if short:
        return Drawing(caption, alt, chart.load_curve(alt, "kW", scale, labels, values, within, named))
    week = 7 * 24 * HOUR_NS // step_ns
    return Drawing(caption, alt, chart.load_strips(alt, "kW", scale, labels, values, within, named, week))


def _joined(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that share time as one: many berths would be drawn over each other."""
    found: list[tuple[float, float]] = []
    for start, stop in sorted(spans):
        if found and start < found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], stop)
        else:
            found.append((start, stop))
    return found


def duration(w: Words) -> Drawing | None:
    """For how many hours the site drew at least so much."""
    r = w.report
    if not r.counted or r.counted[0].span_stop_ns - min(m.first_ns for m in r.counted) < 2 * HOUR_NS:
        return None
    _, values = _site_power_kw(w, WINDOW_NS)
    known = [v for v in values if v is not None]
    hours = len(known) * WINDOW_NS / HOUR_NS
    marks = [(h * HOUR_NS / WINDOW_NS, text) for h, text in ticks(w, hours) if h <= hours]
    half = sorted(known, reverse=True)[len(known) // 2]
    alt = w(
        "figure.duration_alt", most=w.t.quantity(Fraction(max(known)), "kW", 1),
        half=w.t.quantity(Fraction(half), "kW", 1), hours=w.t.number(Fraction(hours), 0),
    )  # fmt: skip
    svg = chart.duration_curve(alt, "kW", ticks(w, max(known)), marks, known, "h")
    return Drawing(w("figure.duration"), alt, svg)


def peak_windows(w: Words, meter: MeterMonth) -> Drawing | None:
    """The highest windows of a meter, with their times."""
    order = np.lexsort((meter.windows.start_ns, -meter.windows.power_w))[:PEAKS]
    highest = [meter.windows[int(i)] for i in order]
    if len(meter.windows) < 2 * PEAKS:
        return None
    caption = w("figure.peaks", n=len(highest), meter=meter.device)
    alt = w("figure.peaks_alt", first=w.peak_at(highest[0]), last=w.peak_at(highest[-1]))
    svg = chart.lying_bars(
        alt, [w.at(v.start_ns) for v in highest], [float(v.power_w) for v in highest],
        [f"{w.kw(v)} kW" for v in highest], [not v.complete for v in highest],
    )  # fmt: skip
    return Drawing(caption, alt, svg)


def charge(w: Words) -> Drawing | None:
    """State of charge from arrival to departure; of many calls, how their departures are spread."""
    calls = w.report.calls
    left = [c.soc_end for c in calls if c.soc_end is not None]
    if not left:
        return None
    alt = w(
        "figure.charge_alt", n=len(left), of=len(calls),
        low=w.t.percent(Fraction(min(left)), 1), high=w.t.percent(Fraction(max(left)), 1),
    )  # fmt: skip
    if len(calls) <= MOST_CALLS:
        spans = [None if c.soc_start is None or c.soc_end is None else (c.soc_start, c.soc_end) for c in calls]
        scale = [(i / 5, w.t.percent(Fraction(i, 5), 0)) for i in range(6)]
        days = [f"{local(c.end_ns, w.report.month.zone):%d/%m}" for c in calls]
        return Drawing(w("figure.charge"), alt, chart.ranges(alt, "", scale, days, spans))
    counts = np.histogram(left, SOC_CLASSES, (0.0, 1.0))[0].tolist()
    edges = [w.t.percent(Fraction(i, SOC_CLASSES), 0) for i in range(SOC_CLASSES + 1)]
    svg = chart.histogram(alt, w("figure.calls"), ticks(w, max(counts)), edges, [(w("figure.departure"), counts)])
    return Drawing(w("figure.charge_spread"), alt, svg)


def _midnight_ns(w: Words) -> int:
    """Of the first day with a minute."""
    first = local(min(m.first_ns for m in w.report.counted), w.report.month.zone)
    return int(first.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * NS


def _site_power_kw(w: Words, step_ns: int, begin_ns: int | None = None) -> tuple[int, list[float | None]]:
    """Mean power of each step by the counted meters' minutes; None where no meter has a minute."""
    r = w.report
    first_ns = min(m.first_ns for m in r.counted) // step_ns * step_ns if begin_ns is None else begin_ns
    count = -(-(r.counted[0].span_stop_ns - first_ns) // step_ns)
    energy_wh, minutes = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for meter in r.counted:
        rows = r.minutes[meter.device]
        place: NDArray[np.int64] = (rows.t_ns - first_ns) // step_ns
        energy_wh += np.bincount(place, rows.import_wh, count).astype(np.int64)
        minutes += np.bincount(place, minlength=count)
    kw = energy_wh * (HOUR_NS / step_ns) / 1000
    return first_ns, [float(v) if n else None for v, n in zip(kw, minutes, strict=True)]


def month_labels(w: Words, first_ns: int, step_ns: int, count: int) -> Sequence[tuple[float, str]]:
    """Hours of a day, or the days of a month at their local midnights."""
    zone = w.report.month.zone
    last_ns = first_ns + count * step_ns
    if count * step_ns <= SHORT_NS:
        hours = range(-(-first_ns // HOUR_NS) * HOUR_NS, last_ns, HOUR_NS)
        return [((t - first_ns) / step_ns, f"{local(t, zone):%H:%M}") for t in hours]
    day = local(first_ns, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [int((day + timedelta(days=i)).timestamp()) * NS for i in range(33)]
    return [((t - first_ns) / step_ns, str(local(t, zone).day)) for t in starts if first_ns <= t < last_ns]


def ticks(w: Words, top: float) -> list[tuple[float, str]]:
    """Four to ten round values from 0 to beyond `top`."""
    if top <= 0:
        return [(0.0, "0")]
    step = round_step(top)
    digits = next(d for d in range(4) if (step * 10**d).denominator == 1)
    count = int(-(-Fraction(top) // step))
    return [(float(i * step), w.t.number(i * step, digits)) for i in range(count + 1)]


def round_step(span: float) -> Fraction:
    """1, 2 or 5 times a power of ten, of which at most six make the span."""
    steps = (Fraction((1, 2, 5)[i % 3]) * Fraction(10) ** (i // 3 - 3) for i in range(40))
    return next(step for step in steps if span <= 6 * step)
