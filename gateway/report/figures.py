"""What the charts of a report show."""

from datetime import timedelta
from fractions import Fraction
from itertools import pairwise

import numpy as np

from gateway.report.document import Bars
from gateway.report.energy import WINDOW_NS, MeterMonth
from gateway.report.month import NS
from gateway.report.words import Words
from gateway.texts import local

MOST_WINDOWS = 144  # a day of ten minutes; beyond that days are shown


def power_bars(w: Words, meter: MeterMonth) -> Bars | None:
    """Mean power of each 10-minute window, where the data span a day at most."""
    if meter.windows_expected > MOST_WINDOWS:
        return None
    found = {v.start_ns: v for v in meter.windows}
    first_ns = meter.windows[0].start_ns
    starts = [first_ns + i * WINDOW_NS for i in range(meter.windows_expected)]
    values = [found[t].power_w / 1000 if t in found else 0.0 for t in starts]
    return Bars(
        caption=w("figure.power", meter=meter.device, day=w.t.date(first_ns, w.report.month.zone)),
        unit="kW",
        labels=[f"{local(t, w.report.month.zone):%H:%M}" for t in starts],
        values=values,
        pale=[t not in found or not found[t].complete for t in starts],
        pale_label=w("figure.pale_power"),
        ticks=ticks(w, max(values)),
    )


def daily_bars(w: Words, meter: MeterMonth) -> Bars | None:
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
    return Bars(
        caption=w("figure.daily", meter=meter.device),
        unit="MWh",
        labels=[str(d) for d in days],
        values=values,
        pale=[not ok for ok in whole],
        pale_label=w("figure.pale_day"),
        ticks=ticks(w, max(values)),
    )


def ticks(w: Words, top: float) -> list[tuple[float, str]]:
    """Four to ten round values from 0 to beyond `top`."""
    if top <= 0:
        return [(0.0, "0")]
    step = Fraction(1, 1000)
    for i in range(40):
        step = Fraction((1, 2, 5)[i % 3]) * Fraction(10) ** (i // 3 - 3)
        if top <= 6 * step:
            break
    digits = next(d for d in range(4) if (step * 10**d).denominator == 1)
    count = int(-(-Fraction(top) // step))
    return [(float(i * step), w.t.number(i * step, digits)) for i in range(count + 1)]
