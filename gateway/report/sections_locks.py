"""The locks' part of a report, for one month or a longer period."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from gateway.report.document import Align, Block, Bullets, Heading, Paragraph, Table
from gateway.report.figure import Figure, by_key, key_of
from gateway.report.figures_locks import figures_of_group, figures_of_lock
from gateway.report.lockages import CYCLES
from gateway.report.locks import LockFacts
from gateway.report.model import WHOLE_ENOUGH
from gateway.report.words import Words

LOCKAGES = "total up down unknown empty incomplete"
TABLES = {  # figures of a lock that stand side by side
    "lock_oddities": "incoherences incoherences_per_100 alarms alarms_per_100 estops",
    "lock_amounts": (
        "water_drawn_m3 water_released_m3 water_mean_m3 energy_wh energy_mean_wh pump_wh pump_mean_wh drives_wh"
    ),
    "lock_availability": "scheduled_s down_s unseen_s availability",
    "lock_teleoperation": "teleoperation remote_share local_share maintenance_share link_share",
    "lock_takeovers": (
        "takeovers takeover_requests takeover_response_mean_s takeover_response_max_s plc_answer_mean_s"
        " plc_answer_p95_s"
    ),
}


def lock_sections(w: Words, locks: Sequence[LockFacts]) -> list[Block]:
    """Tables of these locks, and how their figures are meant."""
    heading = Heading(w("locks.heading"))
    if not locks:
        return [heading, Paragraph(w("not_measured_why", why=w("locks.no_lock")))]
    found = [f for lock in locks for f in figures_of_lock(lock)]
    shown = _Shown(w, by_key((*found, *figures_of_group(locks))))
    blocks: list[Block] = [heading, *_teleoperation_of_all(w, shown, locks)]
    blocks += [_table(w, shown, "lock_lockages", LOCKAGES, _by_lock(locks)), _cycles(w, shown, locks)]
    blocks += [_table(w, shown, table, names, _by_lock(locks)) for table, names in TABLES.items()]
    blocks += _bands(w, shown, locks)
    return [*blocks, Bullets([w(f"locks.method.{name}") for name in _methods(locks)])]


def lock_reserves(w: Words, locks: Sequence[LockFacts]) -> list[str]:
    """What a reader must know before believing the locks' figures."""
    found = []
    for lock in locks:
        name = {"lock": lock.device}
        if lock.nothing:
            found.append(w("locks.reserve.nothing", **name))
            continue
        if lock.calendar:
            found.append(w("locks.reserve.no_hours", **name))
        seen = lock.available.coverage
        if seen is not None and seen < WHOLE_ENOUGH:
            found.append(w("locks.reserve.unseen", seen=w.t.percent(seen, 1), **name))
        if lock.incomplete:
            found.append(w("locks.reserve.incomplete", n=lock.incomplete, of=lock.total, **name))
        if lock.modes["REMOTE"] is None:
            found.append(w("locks.reserve.no_mode", **name))
        if lock.not_evaluated:
            found.append(w("locks.reserve.rules", rules=", ".join(sorted(lock.not_evaluated)), **name))
        if lock.inhibited:
            found.append(w("locks.reserve.inhibited", n=lock.inhibited, **name))
    return found


class _Shown:
    """Figures by key, written in the words of a language."""

    def __init__(self, w: Words, figures: Mapping[str, Figure]) -> None:
        self._w, self._figures = w, figures

    def __call__(self, name: str, where: str) -> str:
        figure = self._figures[f"{name}/{where}" if where else name]
        value, t = figure.value, self._w.t
        if value is None:
            return self._w("not_measured")
        match figure.unit:
            case "count":
                text = str(value)
            case "s" if "change" in name:
                text = _signed(self._w, Fraction(value))
            case "s" if name.endswith(("scheduled_s", "down_s", "unseen_s")):
                return t.number(Fraction(value) / 3600, 1)
            case "s" if "plc_answer" in name:
                return t.quantity(Fraction(value) * 1000, "ms", 1)
            case "s":
                text = t.duration(round(value))
            case "Wh":
                text = t.number(Fraction(value) / 1000, 3)
            case "m3":
                text = t.number(Fraction(value))
            case "1" if "per_100" in name:
                text = t.number(Fraction(value), 1)
            case _:
                text = t.percent(Fraction(value), 1)
        thin = figure.coverage is not None and figure.coverage < WHOLE_ENOUGH
        return f"{text}{self._part(figure)}" if thin else text

    def _part(self, figure: Figure) -> str:
        """What is known for less of its time says for how much."""
        return f" ({self._w('locks.of', seen=self._w.t.percent(figure.coverage or Fraction(0), 1))})"


def _signed(w: Words, seconds: Fraction) -> str:
    rounded = round(seconds)
    sign = "+" if rounded > 0 else "\u2212" if rounded < 0 else "±"
    return f"{sign}{w.t.duration(abs(rounded))}"


def _table(w: Words, shown: _Shown, table: str, names: str, places: Sequence[tuple[list[str], str]]) -> Table:
    """`places`: leading cells of each row, and where its figures stand; `names`: figures after those cells."""
    figures = names.split()
    leading = ("lock", "direction" if table == "lock_cycles" else "point")[: len(places[0][0])]
    header: list[tuple[str, Align]] = [(w(f"column.{table}.{name}"), "left") for name in leading]
    header += [(w(f"column.{table}.{name}"), "right") for name in figures]
    keys = [f"lock.{name}" for name in figures]
    rows = [[*cells, *(shown(key, where) for key in keys)] for cells, where in places]
    return Table(
        w(f"locks.caption.{table}"), header, rows, names=("",) * len(leading) + tuple(keys),
        where=[where for _, where in places],
    )  # fmt: skip


def _by_lock(locks: Sequence[LockFacts]) -> list[tuple[list[str], str]]:
    return [([lock.device], f"lock={lock.device}") for lock in locks]


def _cycles(w: Words, shown: _Shown, locks: Sequence[LockFacts]) -> Table:
    places = [
        ([lock.device, w(f"locks.way.{way}")], f"lock={lock.device},direction={way}")
        for lock in locks
        for way in CYCLES
    ]
    names = "cycle_count cycle_mean_s cycle_p95_s cycle_change_previous_s cycle_change_year_s"
    return _table(w, shown, "lock_cycles", names, places)


def _bands(w: Words, shown: _Shown, locks: Sequence[LockFacts]) -> list[Block]:
    places = []
    for lock in locks:
        for band in lock.bands:
            low, high = (w.t.number(Fraction(str(m)), 2) for m in (band.low_m, band.high_m))
            between = w("locks.band", point=w(f"locks.level.{band.point}"), low=low, high=high)
            places.append(([lock.device, between], key_of("", lock=lock.device, point=band.point)[1:]))
    if not places:
        return [Paragraph(w("not_measured_why", why=w("locks.no_band")))]
    return [_table(w, shown, "lock_bands", "in_band", places)]


def _teleoperation_of_all(w: Words, shown: _Shown, locks: Sequence[LockFacts]) -> list[Block]:
    if len(locks) < 2:
        return []
    values = {name: shown(f"locks.{name}", "") for name in ("count", "remote_count", "remote_share")}
    return [Paragraph(w("locks.progress", **values))]


def _methods(locks: Sequence[LockFacts]) -> tuple[str, ...]:
    hours = [not lock.calendar for lock in locks]
    wanted = ("cycle", "water", "energy", "down", "teleoperation", "counts")
    scheduled = ("hours",) * any(hours) + ("calendar",) * (not all(hours))
    return (*wanted[:3], *scheduled, *wanted[3:])
