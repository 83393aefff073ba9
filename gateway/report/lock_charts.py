"""Charts of a lock's month: how long its lockages took, and its levels."""

from fractions import Fraction

import numpy as np

from gateway.report import chart
from gateway.report.blocks import drawn
from gateway.report.document import Drawing
from gateway.report.figures import month_labels, round_step, ticks
from gateway.report.lockages import Lockages
from gateway.report.locks import LockMonth
from gateway.report.words import Words

MOST_LOCKS = 4  # that have charts of their own
MOST_CLASSES = 24
WIDTHS_S = (60, 120, 300, 600, 1800, 3600)
LEVELS = ("level_upstream_m", "level_downstream_m")  # the chamber goes from one to the other all day


def lock_charts(w: Words) -> list[Drawing]:
    found = (draw(w, lock) for lock in w.report.locks[:MOST_LOCKS] for draw in (cycles, levels))
    return drawn(*found)


def cycles(w: Words, lock: LockMonth) -> Drawing | None:
    """How many complete lockages took how long, by direction."""
    lasted_s = {way: _lasted_s(lock.lockages, way) for way in ("up", "down")}
    both = np.concatenate(list(lasted_s.values()))
    if not len(both):
        return None
    low, high = int(both.min()), int(both.max()) + 1
    width_s = next((n for n in WIDTHS_S if (high - low) / n < MOST_CLASSES), WIDTHS_S[-1])
    edges = np.arange(low // width_s, -(-high // width_s) + 1) * width_s
    counts = {way: np.histogram(values, edges)[0].tolist() for way, values in lasted_s.items()}
    named = [(w(f"locks.way.{way}"), counts[way]) for way in ("up", "down")]
    caption = w("figure.cycles", lock=lock.device, minutes=w.t.number(Fraction(width_s, 60)))
    alt = w(
        "figure.cycles_alt", up=len(lasted_s["up"]), down=len(lasted_s["down"]),
        low=w.t.duration(low), high=w.t.duration(high - 1),
    )  # fmt: skip
    scale = ticks(w, max(max(c) for c in counts.values()))
    marks = [w.t.number(Fraction(int(edge), 60)) for edge in edges]
    return Drawing(caption, alt, chart.histogram(alt, w("figure.lockages"), scale, marks, named, "min"))


def _lasted_s(lockages: Lockages, way: str) -> np.ndarray:
    return np.asarray(lockages.cycle_times(way).lasted_ns, np.int64) // 10**9


def levels(w: Words, lock: LockMonth) -> Drawing | None:
    """Hourly means of the levels over the month."""
    found = {name: lock.time.levels[name] for name in LEVELS if name in lock.time.levels}
    means = {name: level.mean_m for name, level in found.items()}
    means = {name: mean for name, mean in means.items() if np.isfinite(mean).any()}
    if not means:
        return None
    low = min(float(np.nanmin(mean)) for mean in means.values())
    high = max(float(np.nanmax(mean)) for mean in means.values())
    series = [
        (w(f"locks.level.{name}"), [float(v) if np.isfinite(v) else None for v in mean])
        for name, mean in means.items()
    ]
    start_ns = next(iter(found.values())).start_ns
    labels = month_labels(w, start_ns, 3600 * 10**9, len(series[0][1]))
    parts = [
        w(
            "figure.level_range",
            level=w(f"locks.level.{name}"),
            low=_metres(w, np.nanmin(mean)),
            high=_metres(w, np.nanmax(mean)),
        )
        for name, mean in means.items()
    ]
    alt = w("figure.levels_alt", parts="; ".join(parts))
    svg = chart.lines(alt, "m", _between(w, low, high), labels, series)
    return Drawing(w("figure.levels", lock=lock.device), alt, svg)


def _metres(w: Words, level: float) -> str:
    return w.t.quantity(Fraction(float(level)), "m", 2)


def _between(w: Words, low: float, high: float) -> list[tuple[float, str]]:
    """Round values from below `low` to above `high`: a level has no zero."""
    step = round_step(max(high - low, 0.05))
    digits = next(d for d in range(4) if (step * 10**d).denominator == 1)
    first, last = Fraction(low) // step, -(-Fraction(high) // step)
    return [(float(i * step), w.t.number(i * step, digits)) for i in range(first, last + 1)]
