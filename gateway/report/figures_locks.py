"""Figures of the locks: lockages, cycle times, water, energy, availability, teleoperation, what did not fit."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.report.figure import Figure, RowRange, key_of
from gateway.report.lock_time import Count, Share
from gateway.report.lockages import CYCLES, P95, WAYS, Amount
from gateway.report.locks import MODES, LockFacts
from gateway.report.month import NS

if TYPE_CHECKING:
    from gateway.report.model import Report

Value = int | Fraction | None


def lock_figures(report: "Report") -> Iterator[Figure]:
    facts = [lock.facts for lock in report.locks]
    for lock in facts:
        yield from figures_of_lock(lock)
    yield from figures_of_group(facts)


def figures_of_group(locks: Sequence[LockFacts]) -> Iterator[Figure]:
    """How far teleoperation has come across several locks."""
    if not locks:
        return
    shares = [share for lock in locks if (share := lock.modes["REMOTE"]) is not None]
    together = sum(shares, Share(0, 0, 0))
    inputs = tuple(key_of("lock.remote_share", lock=lock.device) for lock in locks)
    remote = sum(share.part_ns > 0 for share in shares)
    for name, value, unit, formula in (
        ("count", len(locks), "count", "locks"),
        ("remote_count", remote if shares else None, "count", "locks_remote"),
        ("remote_share", together.value, "1", "locks_remote_share"),
    ):
        yield Figure(
            key=f"locks.{name}", value=value, unit=unit, perimeter="locks", formula=f"lock.{formula}",
            inputs=inputs, coverage=together.coverage if name == "remote_share" else None, open=True,
        )  # fmt: skip


def figures_of_lock(lock: LockFacts) -> Iterator[Figure]:
    """The figures of one lock in one period, in a stable order."""
    of = _Maker(lock)
    yield from _lockages(of)
    yield from _cycles(of)
    yield from _amounts(of)
    yield from _availability(of)
    yield from _teleoperation(of)
    yield from _oddities(of)


class _Maker:
    """Makes figures of one lock; `rows` names the kind of rows that they stand on."""

    def __init__(self, lock: LockFacts) -> None:
        self.lock = lock

    def key(self, name: str, **where: object) -> str:
        return key_of(f"lock.{name}", lock=self.lock.device, **where)

    def __call__(
        self, name: str, value: Value, unit: str, formula: str, *, rows: str = "", inputs: tuple[str, ...] = (),
        coverage: Fraction | None = None, **where: str,
    ) -> Figure:  # fmt: skip
        lock = self.lock
        return Figure(
            key=self.key(name, **where), value=value, unit=unit, perimeter="lock", formula=f"lock.{formula}",
            inputs=tuple(self.key(i) for i in inputs),
            rows=(RowRange(rows, lock.device, lock.start_ns, lock.stop_ns),) if rows else (),
            coverage=coverage, open=True,
        )  # fmt: skip

    def share(self, name: str, share: Share | None, formula: str, **where: str) -> Figure:
        """A share of known time; its coverage is the known share of the time asked for."""
        value, coverage = (None, None) if share is None else (share.value, share.coverage)
        return self(name, value, "1", formula, rows="lock", inputs=(), coverage=coverage, **where)

    def count(self, name: str, count: Count, rows: str = "lock") -> Figure:
        return self(name, count.value, "count", name, rows=rows, coverage=count.coverage)

    def amount(self, name: str, amount: Amount, value: Value, unit: str, rows: str = "lock_cycle") -> Figure:
        formula = name.rpartition("_")[0]
        return self(name, value, unit, formula, rows=rows, coverage=amount.coverage)


def _lockages(of: _Maker) -> Iterator[Figure]:
    lock = of.lock
    for way in WAYS:
        yield of(way, lock.ways[way], "count", "count", rows="lock_cycle")
    yield of("total", lock.total, "count", "sum_of_ways", inputs=WAYS)
    yield of.count("empty", lock.empty, "lock_cycle")
    yield of("incomplete", lock.incomplete, "count", "incomplete", rows="lock_cycle")


def _cycles(of: _Maker) -> Iterator[Figure]:
    for way in CYCLES:
        times = of.lock.cycles[way]
        yield of("cycle_count", times.count, "count", "cycle_count", rows="lock_cycle", direction=way)
        yield of("cycle_mean_s", times.mean_s, "s", "cycle_mean", rows="lock_cycle", direction=way)
        yield of("cycle_p95_s", times.quantile_s(P95), "s", "cycle_p95", rows="lock_cycle", direction=way)
        for against, earlier in (("previous", of.lock.before), ("year", of.lock.year_before)):
            change_s, name = of.lock.change_s(way, earlier), f"cycle_change_{against}"
            yield of(f"{name}_s", change_s, "s", name, rows="lock_cycle", direction=way)


def _amounts(of: _Maker) -> Iterator[Figure]:
    lock = of.lock
    yield of.amount("water_drawn_m3", lock.drawn_m3, lock.drawn_m3.value, "m3")
    yield of.amount("water_released_m3", lock.released_m3, lock.released_m3.value, "m3")
    yield of.amount("water_mean_m3", lock.moved_m3, lock.moved_m3.mean, "m3")
    yield of.amount("energy_wh", lock.energy_wh, lock.energy_wh.value, "Wh")
    yield of.amount("energy_mean_wh", lock.energy_wh, lock.energy_wh.mean, "Wh")
    pump_wh = lock.pump_wh.value
    yield of.amount("pump_wh", lock.pump_wh, pump_wh, "Wh", "lock")
    per_lockage = pump_wh / lock.total if pump_wh is not None and lock.total else None
    coverage = lock.pump_wh.coverage
    yield of("pump_mean_wh", per_lockage, "Wh", "pump_mean", inputs=("pump_wh", "total"), coverage=coverage)
    yield of("drives_wh", lock.drives_wh, "Wh", "drives", inputs=("energy_wh", "pump_wh"), coverage=coverage)


def _availability(of: _Maker) -> Iterator[Figure]:
    lock = of.lock
    scheduled = "scheduled_calendar" if lock.calendar else "scheduled"
    yield of("scheduled_s", Fraction(lock.scheduled_ns, NS), "s", scheduled, rows="lock")
    yield of("down_s", Fraction(lock.down_ns, NS), "s", "down", rows="lock")
    yield of("unseen_s", Fraction(lock.unseen_ns, NS), "s", "unseen", rows="lock")
    yield of(
        "availability", lock.available.value, "1", "availability", inputs=("scheduled_s", "down_s", "unseen_s"),
        coverage=lock.available.coverage,
    )  # fmt: skip
    for band, in_band in lock.bands.items():
        yield of.share("in_band", in_band, "in_band", point=band.point)


def _teleoperation(of: _Maker) -> Iterator[Figure]:
    lock = of.lock
    yield of.share("teleoperation", lock.teleoperable, "teleoperation")
    for mode in MODES:
        yield of.share(f"{mode.lower()}_share", lock.modes[mode], "mode")
    yield of.share("link_share", lock.linked, "link")
    yield of.count("takeovers", lock.takeovers)
    yield of.count("takeover_requests", lock.requests)
    answers_ns = lock.responses_ns
    mean_s = Fraction(sum(answers_ns), len(answers_ns) * NS) if answers_ns else None
    longest_s = Fraction(max(answers_ns), NS) if answers_ns else None
    yield of("takeover_response_mean_s", mean_s, "s", "response_mean", rows="lock")
    yield of("takeover_response_max_s", longest_s, "s", "response_max", rows="lock")
    yield of("plc_answer_mean_s", lock.answers.mean_s, "s", "plc_answer_mean", rows="link")
    yield of("plc_answer_p95_s", lock.answers.p95_s, "s", "plc_answer_p95", rows="link")


def _oddities(of: _Maker) -> Iterator[Figure]:
    lock = of.lock
    for name, count, rows in (("incoherences", lock.incoherences, "event"), ("alarms", lock.alarms, "lock")):
        yield of.count(name, count, rows)
        yield of(f"{name}_per_100", lock.per_100(count), "1", "per_100", inputs=(name, "total"),
                 coverage=count.coverage)  # fmt: skip
    yield of.count("estops", lock.estops)
