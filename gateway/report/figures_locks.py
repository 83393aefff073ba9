"""Figures of the locks: lockages, cycle times, water, energy, availability, teleoperation, what did not fit."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.report.figure import Figure, RowRange, key_of
from gateway.report.intervals import total_ns
from gateway.report.lock_time import Share
from gateway.report.lockages import CYCLES, P95, WAYS, Amount
from gateway.report.locks import LockMonth
from gateway.report.month import NS

if TYPE_CHECKING:
    from gateway.report.model import Report

Value = int | Fraction | None
MODES = ("remote", "local", "maintenance", "auto")


def lock_figures(report: "Report") -> Iterator[Figure]:
    for lock in report.locks:
        yield from figures_of_lock(lock)
    yield from figures_of_group(report.locks)


def figures_of_group(locks: Sequence[LockMonth]) -> Iterator[Figure]:
    """How far teleoperation has come across several locks."""
    if not locks:
        return
    names = [lock.device for lock in locks]
    shares = [share for lock in locks if (share := lock.time.in_mode("REMOTE")) is not None]
    together = sum(shares, Share(0, 0, 0))
    inputs = tuple(key_of("lock.remote_share", lock=name) for name in names)
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


def figures_of_lock(lock: LockMonth) -> Iterator[Figure]:
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

    def __init__(self, lock: LockMonth) -> None:
        self.lock, self.time = lock, lock.time

    def key(self, name: str, **where: object) -> str:
        return key_of(f"lock.{name}", lock=self.lock.device, **where)

    def __call__(
        self, name: str, value: Value, unit: str, formula: str, *, rows: str = "", inputs: tuple[str, ...] = (),
        coverage: Fraction | None = None, **where: str,
    ) -> Figure:  # fmt: skip
        ranges = (RowRange(rows, self.lock.device, self.time.start_ns, self.time.stop_ns),) if rows else ()
        return Figure(
            key=self.key(name, **where), value=value, unit=unit, perimeter="lock", formula=f"lock.{formula}",
            inputs=tuple(self.key(i) for i in inputs), rows=ranges, coverage=coverage, open=True,
        )  # fmt: skip

    def share(self, name: str, share: Share | None, formula: str, **where: str) -> Figure:
        """A share of known time; its coverage is the known share of the time asked for."""
        value, coverage = (None, None) if share is None else (share.value, share.coverage)
        return self(name, value, "1", formula, rows="lock", inputs=(), coverage=coverage, **where)


def _lockages(of: _Maker) -> Iterator[Figure]:
    found = of.lock.lockages
    for way in WAYS:
        yield of(way, found.by_way[way], "count", "count", rows="lock_cycle")
    yield of("total", of.lock.total, "count", "sum_of_ways", inputs=WAYS)
    complete = int(found.complete.sum())
    told = Fraction(found.vessel_told, complete) if complete else None
    yield of("empty", found.empty, "count", "empty", rows="lock_cycle", coverage=told)
    yield of("incomplete", found.incomplete, "count", "incomplete", rows="lock_cycle")


def _cycles(of: _Maker) -> Iterator[Figure]:
    for way in CYCLES:
        times = of.lock.lockages.cycle_times(way)
        yield of("cycle_count", times.count, "count", "cycle_count", rows="lock_cycle", direction=way)
        yield of("cycle_mean_s", times.mean_s, "s", "cycle_mean", rows="lock_cycle", direction=way)
        yield of("cycle_p95_s", times.quantile_s(P95), "s", "cycle_p95", rows="lock_cycle", direction=way)
        for against, earlier in (("previous", of.lock.before), ("year", of.lock.year_before)):
            change_s = of.lock.change_s(way, earlier)
            name = f"cycle_change_{against}"
            yield of(f"{name}_s", change_s, "s", name, rows="lock_cycle", direction=way)


def _amounts(of: _Maker) -> Iterator[Figure]:
    found = of.lock.lockages

    def amount(name: str, amount: Amount, value: Value, unit: str, formula: str) -> Figure:
        return of(name, value, unit, formula, rows="lock_cycle", coverage=amount.coverage)

    yield amount("water_drawn_m3", found.drawn_m3, found.drawn_m3.value, "m3", "water_drawn")
    yield amount("water_released_m3", found.released_m3, found.released_m3.value, "m3", "water_released")
    yield amount("water_mean_m3", found.moved_m3, found.moved_m3.mean, "m3", "water_mean")
    yield amount("energy_wh", found.energy, found.energy.value, "Wh", "energy")
    yield amount("energy_mean_wh", found.energy, found.energy.mean, "Wh", "energy_mean")
    yield of("pump_wh", of.lock.pump_wh, "Wh", "pump", rows="lock", coverage=of.lock.pump_coverage)
    per_lockage = of.lock.pump_wh / of.lock.total if of.lock.pump_wh is not None and of.lock.total else None
    yield of(
        "drives_wh",
        of.lock.drives_wh,
        "Wh",
        "drives",
        inputs=("energy_wh", "pump_wh"),
        coverage=of.lock.pump_coverage,
    )
    yield of("pump_mean_wh", per_lockage, "Wh", "pump_mean", inputs=("pump_wh", "total"))


def _availability(of: _Maker) -> Iterator[Figure]:
    time, share = of.time, of.time.available
    scheduled = "scheduled" if time.schedule.hours is not None else "scheduled_calendar"
    yield of("scheduled_s", Fraction(share.asked_ns, NS), "s", scheduled, rows="lock")
    yield of("down_s", Fraction(total_ns(time.down), NS), "s", "down", rows="lock")
    yield of("unseen_s", Fraction(time.unseen_ns, NS), "s", "unseen", rows="lock")
    yield of(
        "availability", share.value, "1", "availability", inputs=("scheduled_s", "down_s", "unseen_s"),
        coverage=share.coverage,
    )  # fmt: skip
    for band, in_band in time.in_band.items():
        yield of.share("in_band", in_band, "in_band", point=band.point)


def _teleoperation(of: _Maker) -> Iterator[Figure]:
    time = of.time
    yield of.share("teleoperation", time.teleoperable, "teleoperation")
    for mode in MODES:
        yield of.share(f"{mode}_share", time.in_mode(mode.upper()), "mode")
    yield of.share("link_share", time.linked, "link")
    yield of("takeovers", time.takeovers, "count", "takeovers", rows="lock")
    yield of("takeover_requests", time.requests, "count", "takeover_requests", rows="lock")
    answers_ns = time.responses_ns
    mean_s = Fraction(sum(answers_ns), len(answers_ns) * NS) if answers_ns else None
    longest_s = Fraction(max(answers_ns), NS) if answers_ns else None
    yield of("takeover_response_mean_s", mean_s, "s", "response_mean", rows="lock")
    yield of("takeover_response_max_s", longest_s, "s", "response_max", rows="lock")
    for name, value in (("mean", of.lock.answers.mean_ms), ("p95", of.lock.answers.p95_ms)):
        seconds = None if value is None else value / 1000
        yield of(f"plc_answer_{name}_s", seconds, "s", f"plc_answer_{name}", rows="link")


def _oddities(of: _Maker) -> Iterator[Figure]:
    lock = of.lock
    for name, count, rows in (
        ("incoherences", lock.incoherent, "event"), ("alarms", of.time.alarms, "lock"),
    ):  # fmt: skip
        yield of(name, count, "count", name, rows=rows)
        yield of(f"{name}_per_100", lock.per_100(count), "1", "per_100", inputs=(name, "total"))
    yield of("estops", of.time.estops, "count", "estops", rows="lock")
