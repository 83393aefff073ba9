"""Charts of a lock's month, in pictures and in words."""

import math
from typing import Any

import lock_rows as lr
from lock_rows import LOCK, NS, SITE

from gateway.report.lock_charts import cycles, levels
from gateway.report.model import build
from gateway.report.period import Period
from gateway.report.words import Words
from gateway.texts import load_texts

START_NS = Period.parse("2026-10", "Europe/Paris").start_ns
HOUR_NS = 3600 * NS


def words(port: Any, lang: str = "en") -> Words:
    port.book.put_catalogue(lr.catalogue())
    return Words(build(port.store, port.book, "2026-10", SITE), load_texts(lang))


def lockages(port: Any, count: int) -> None:
    for i in range(count):
        start_ns, lasted_ns = START_NS + i * HOUR_NS, (900 + 20 * (i % 17)) * NS
        fields = {
            "start_ns": start_ns, "end_ns": start_ns + lasted_ns, "direction": ("up", "down")[i % 2],
            "vessel_seen": 1, "complete": 1, "volume_m3": 8502.5,
        }  # fmt: skip
        port.row("lock_cycle", LOCK, start_ns, fields, rev="0")


def test_cycles_are_spread_over_classes_by_direction(port: Any) -> None:
    lockages(port, 40)
    w = words(port)
    drawing = cycles(w, w.report.locks[0])
    assert drawing is not None and "classes of 1 min" in drawing.caption
    told = "Histogram of the durations of 20 upbound and 20 downbound lockages, from 15 min 0 s to 20 min 20 s."
    assert drawing.alt.replace("\u00a0", " ") == told
    assert drawing.svg.count('fill="#1f4e79"') >= 2 and "upbound" in drawing.svg


def test_levels_have_a_scale_of_their_own_and_gaps_stay_open(port: Any) -> None:
    hours = [h for h in range(200) if not 50 <= h < 60]
    times = [START_NS + h * HOUR_NS for h in hours]
    upstream = [12.0 + 0.2 * math.sin(h / 20) for h in hours]
    lockages(port, 1)
    lr.write(port.store, times, level_upstream_m=upstream, level_downstream_m=[7.0 for _ in hours])
    w = words(port)
    drawing = levels(w, w.report.locks[0])
    assert drawing is not None and "upper reach: from 11.80\u00a0m to 12.20\u00a0m" in drawing.alt
    assert drawing.svg.count('<path d="M') > 6  # two runs of each level, and the lines of the scale
    assert ">0<" not in drawing.svg


def test_a_lock_without_rows_has_no_chart(port: Any) -> None:
    port.row(
        "lock_cycle", LOCK, START_NS, {"start_ns": START_NS, "end_ns": START_NS + 9, "direction": "up"}, rev="0"
    )
    w = words(port)
    assert cycles(w, w.report.locks[0]) is None and levels(w, w.report.locks[0]) is None
