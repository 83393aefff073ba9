"""A lock's month against a reckoning row by row."""

import random
import uuid
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import lock_rows as lr
import numpy as np
import pytest
from lock_rows import LOCK, NS, SITE
from servers.influx import TOKEN

from gateway.report.figure import by_key
from gateway.report.figures_locks import figures_of_lock
from gateway.report.frozen import FrozenStore
from gateway.report.intervals import spans
from gateway.report.issue import Format, again, issue
from gateway.report.lock_time import Schedule
from gateway.report.locks import LockMonth, read_lock
from gateway.report.markdown import render_markdown
from gateway.report.model import build
from gateway.report.period import Period
from gateway.report.trace import trace
from gateway.report.words import Words
from gateway.store import open_store
from gateway.texts import load_texts

OCTOBER = Period.parse("2026-10", "Europe/Paris")
START_NS, STOP_NS = OCTOBER.start_ns, OCTOBER.stop_ns
HOUR_NS = 3600 * NS
HOLD_NS = 60 * NS


def lock_of(port: Any, schedule: Schedule | None = None, period: Period = OCTOBER, **lock: Any) -> LockMonth:
    catalogues = [lr.catalogue(**lock)]
    return read_lock(port.store, SITE, LOCK, period, catalogues, schedule)


def value(lock: LockMonth, name: str, where: str = "") -> Any:
    return by_key(tuple(figures_of_lock(lock.facts)))[f"lock.{name}/lock={LOCK}{where}"].value


# Lockages.


def lockage(port: Any, start_ns: int, lasted_ns: int, way: str, **fields: Any) -> None:
    known = {
        "start_ns": start_ns, "end_ns": start_ns + lasted_ns, "direction": way, "vessel_seen": 1, "complete": 1,
        "volume_m3": 8502.5, "energy_wh": 3000,
    } | fields  # fmt: skip
    told = {name: v for name, v in known.items() if v is not None}
    port.row("lock_cycle", LOCK, start_ns, told, rev="0")


def test_lockages_are_counted_by_direction_and_empty_ones_apart(port: Any) -> None:
    for i, (way, vessel, complete) in enumerate([("up", 1, 1), ("up", 0, 1), ("down", 1, 1), ("unknown", 0, 0)]):
        lockage(port, START_NS + i * HOUR_NS, (600 + i) * NS, way, vessel_seen=vessel, complete=complete)
    found = lock_of(port).lockages
    assert (len(found), dict(found.by_way)) == (4, {"up": 2, "down": 1, "unknown": 1})
    assert (found.empty, found.incomplete) == (1, 1)  # an incomplete one proves nothing about a vessel
    assert found.cycle_times("up").mean_s == 600  # the empty one took 601 s, and has no entry nor exit
    assert found.cycle_times("down").mean_s == 602


def test_what_the_edge_calls_a_false_lockage_is_one(port: Any) -> None:
    lockage(port, START_NS, 600 * NS, "up", vessel_seen=None, false_lockage=1)
    lockage(port, START_NS + HOUR_NS, 600 * NS, "up", false_lockage=0)
    assert lock_of(port).lockages.empty == 1


def test_without_a_presence_sensor_false_lockages_are_not_measured(port: Any) -> None:
    lockage(port, START_NS, 600 * NS, "up", vessel_seen=-1)
    found = lock_of(port)
    assert found.lockages.empty is None
    assert found.lockages.cycle_times("up").count == 1


def test_cycle_times_are_exact_and_a_p95_really_was(port: Any) -> None:
    rng = random.Random(5)
    lasted_ns = [rng.randrange(900 * NS, 1500 * NS) for _ in range(37)]
    for i, ns in enumerate(lasted_ns):
        lockage(port, START_NS + i * HOUR_NS, ns, "down")
    found = lock_of(port)
    assert value(found, "cycle_mean_s", ",direction=down") == Fraction(sum(lasted_ns), 37 * NS)
    p95 = min(t for t in lasted_ns if sum(other <= t for other in lasted_ns) >= Fraction(95, 100) * 37)
    assert value(found, "cycle_p95_s", ",direction=down") == Fraction(p95, NS)
    assert value(found, "cycle_p95_s", ",direction=up") is None


def test_a_cycle_time_is_compared_with_the_month_and_the_year_before(port: Any) -> None:
    for period, seconds in ((OCTOBER, 620), (OCTOBER.before(), 600), (OCTOBER.year_before(), 650)):
        lockage(port, period.start_ns, seconds * NS, "up")
    found = lock_of(port)
    assert value(found, "cycle_change_previous_s", ",direction=up") == 20
    assert value(found, "cycle_change_year_s", ",direction=up") == -30
    assert value(found, "cycle_change_year_s", ",direction=down") is None


def test_a_lockage_belongs_to_the_month_in_which_it_ends(port: Any) -> None:
    lockage(port, START_NS - 600 * NS, 600 * NS, "up")  # ends at midnight: September's
    lockage(port, START_NS - 599 * NS, 600 * NS, "up")
    lockage(port, STOP_NS - 600 * NS, 600 * NS, "up")
    assert lock_of(port).facts.total == 2


def test_water_up_and_water_down_are_one_chamber_and_never_added(port: Any) -> None:
    for i, (way, m3) in enumerate([("up", 8000.5), ("down", 8100.25), ("up", None), ("down", 8200.0)]):
        lockage(port, START_NS + i * HOUR_NS, 600 * NS, way, volume_m3=m3)
    found = lock_of(port)
    assert value(found, "water_drawn_m3") == Fraction("8000.5")
    assert value(found, "water_released_m3") == Fraction("16300.25")
    assert value(found, "water_mean_m3") == Fraction("24300.75") / 3
    assert found.lockages.drawn_m3.coverage == Fraction(1, 2)


def test_of_two_chambers_in_a_row_the_upper_draws_and_the_lower_releases(port: Any) -> None:
    for i, (chamber, way, m3) in enumerate(
        [(1, "up", 1.0), (2, "up", 10.0), (1, "down", 100.0), (2, "down", 1000.0)]
    ):
        start_ns = START_NS + i * HOUR_NS
        fields = {"end_ns": start_ns + NS, "direction": way, "complete": 1, "volume_m3": m3}
        port.row("lock_cycle", LOCK, start_ns, fields, rev="0", point=f"chamber-{chamber}")
    found = lock_of(port)
    assert (value(found, "water_drawn_m3"), value(found, "water_released_m3")) == (1, 1000)


def test_energy_is_summed_exactly_and_told_where_it_was_not_measured(port: Any) -> None:
    for i, wh in enumerate([3001, None, 2**54 + 1]):
        lockage(port, START_NS + i * HOUR_NS, 600 * NS, "up", energy_wh=wh)
    found = lock_of(port)
    assert value(found, "energy_wh") == 2**54 + 3002
    assert value(found, "energy_mean_wh") == Fraction(2**54 + 3002, 2)
    assert found.lockages.energy.coverage == Fraction(2, 3)


# Time.


def test_times_agree_with_a_reckoning_row_by_row(port: Any) -> None:
    """Random modes, links and levels at random instants, with silences, unknown values and both midnights."""
    rng = random.Random(20261001)
    t_ns, at_ns = [], START_NS - 300 * NS
    while at_ns < START_NS + 40 * HOUR_NS:
        at_ns += rng.choice([1, 1, 10, 59, 60, 61, 600]) * NS + rng.randrange(NS)
        t_ns.append(at_ns)
    shift = STOP_NS - t_ns[len(t_ns) // 2]
    t_ns = t_ns[: len(t_ns) // 2] + [t + shift for t in t_ns[len(t_ns) // 2 - 3 :]]
    modes = _lasting(rng, len(t_ns), [0, 1, 1, 1, 2, None])
    link, estop = _lasting(rng, len(t_ns), [0, 1, 1, None]), _lasting(rng, len(t_ns), [0, 0, 0, 1])
    level = [rng.choice([21.44, 21.45, 21.6, 21.75, 21.76, None]) for _ in t_ns]
    lr.write(port.store, t_ns, mode=modes, centre_link=link, estop=estop, level_upstream_m=level)
    found = lock_of(port).time

    def held(wanted: list[bool | None]) -> tuple[int, int]:
        return lr.held_ns(t_ns, wanted, START_NS, STOP_NS, HOLD_NS)

    remote = held([None if m is None else m == 1 for m in modes])
    assert (found.in_mode("REMOTE").part_ns, found.in_mode("REMOTE").of_ns) == remote
    assert (found.linked.part_ns, found.linked.of_ns) == held([None if v is None else v == 1 for v in link])
    (band,) = found.in_band.values()
    assert (band.part_ns, band.of_ns) == held([None if v is None else 21.45 <= v <= 21.75 for v in level])
    assert band.asked_ns == STOP_NS - START_NS


def _lasting(rng: random.Random, count: int, choices: list[int | None]) -> list[int | None]:
    """Values that stay for a while, as states do."""
    found: list[int | None] = []
    while len(found) < count:
        found += [rng.choice(choices)] * rng.randint(1, 9)
    return found[:count]


def minutely(port: Any, hours: float | Fraction, **columns: Any) -> None:
    """A row a minute from the month's start."""
    lr.write(port.store, range(START_NS, START_NS + round(hours * HOUR_NS) + 1, HOLD_NS), **columns)


def test_availability_is_of_opening_hours_less_planned_stoppages(port: Any) -> None:
    minutely(port, 10, mode=[1] * 301 + [2] * 60 + [1] * 240, estop=0)  # maintenance from 5:01 to 6:01
    hour = START_NS + np.arange(11) * HOUR_NS
    schedule = Schedule(
        calendar=False,
        hours=spans([(hour[1], hour[10])]),
        planned=spans([(hour[2], hour[3])]),
        unplanned=spans([(hour[8], hour[9])]),
    )
    found = lock_of(port, schedule)
    assert value(found, "scheduled_s") == 8 * 3600
    assert value(found, "down_s") == 2 * 3600
    assert value(found, "unseen_s") == 0
    assert value(found, "availability") == Fraction(6, 8)
    assert found.time.available.coverage == 1


def test_without_opening_hours_the_calendar_counts_and_silence_is_unknown(port: Any) -> None:
    minutely(port, 10, mode=1, estop=0)
    found = lock_of(port)
    seconds = OCTOBER.seconds
    assert seconds == 745 * 3600  # the clocks go back
    assert value(found, "scheduled_s") == seconds
    assert value(found, "unseen_s") == seconds - 10 * 3600
    assert value(found, "availability") == 1
    assert found.time.available.coverage == Fraction(10, 745)
    text = render_markdown(_report(port), "fr")
    assert "pas d'heures d'ouverture au journal" in text
    assert "l'état n'est connu que 1,3\u202f% du temps prévu" in text


def test_a_stoppage_in_the_journal_is_known_even_when_the_plc_was_off(port: Any) -> None:
    schedule = Schedule(
        calendar=False,
        hours=spans([(START_NS, START_NS + 4 * HOUR_NS)]),
        unplanned=spans([(START_NS + HOUR_NS, START_NS + 3 * HOUR_NS)]),
    )
    nothing = lock_of(port, schedule)
    assert (value(nothing, "availability"), value(nothing, "unseen_s")) == (None, 2 * 3600)
    minutely(port, 1, mode=1)
    assert value(lock_of(port, schedule), "teleoperation") is None  # of the link no row told
    minutely(port, 1, mode=1, centre_link=1)
    found = lock_of(port, schedule)
    assert (value(found, "down_s"), value(found, "unseen_s")) == (7200, 3600)
    assert value(found, "availability") == Fraction(1, 3)
    assert value(found, "teleoperation") == Fraction(1, 3)


def test_teleoperation_needs_remote_mode_and_link_and_an_available_lock(port: Any) -> None:
    modes = [1] * 61 + [0] * 60 + [1] * 60 + [1] * 60
    estop = [0] * 121 + [1] * 60 + [0] * 60
    link = [1] * 31 + [0] * 30 + [1] * 180
    minutely(port, 4, mode=modes, centre_link=link, estop=estop)
    found = lock_of(port, Schedule(calendar=False, hours=spans([(START_NS, START_NS + 4 * HOUR_NS)])))
    minutes = [m == 1 and k == 1 and e == 0 for m, k, e in zip(modes[:240], link, estop, strict=False)]
    assert value(found, "teleoperation") == Fraction(sum(minutes), 240)
    assert value(found, "link_share") == Fraction(210, 240)
    assert value(found, "remote_share") == Fraction(180, 240)


def test_take_overs_requests_and_how_fast_they_were_answered(port: Any) -> None:
    modes = [1, 1, 1, 0, 0, 1, 1, 1, 2, 0, 1, 1, 0]
    asked = [0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    lr.write(port.store, [START_NS + i * 10 * NS for i in range(13)], mode=modes, takeover_request=asked)
    found = lock_of(port)
    assert value(found, "takeovers") == 2  # by way of maintenance is none
    assert value(found, "takeover_requests") == 2
    assert found.time.responses_ns == (20 * NS, 60 * NS)
    assert value(found, "takeover_response_mean_s") == 40
    assert value(found, "takeover_response_max_s") == 60


def test_a_take_over_across_a_silence_happened_once(port: Any) -> None:
    lr.write(port.store, [START_NS, START_NS + HOUR_NS, START_NS + HOUR_NS + NS], mode=[1, 0, 0])
    assert value(lock_of(port), "takeovers") == 1


def test_a_change_just_before_the_month_is_not_the_months(port: Any) -> None:
    lr.write(port.store, [START_NS - 2 * NS, START_NS - NS, START_NS + NS], mode=[1, 0, 0], alarm_word=[0, 1, 3])
    found = lock_of(port)
    assert value(found, "takeovers") == 0
    assert value(found, "alarms") == 1


def test_alarms_are_bits_that_appear(port: Any) -> None:
    words = [5, 5, 4, 7, None, 7, 0, 8]
    lr.write(port.store, [START_NS + i * NS for i in range(8)], alarm_word=words, estop=[0, 1, 1, 0, 1, 0, 0, 0])
    lockage(port, START_NS, 60 * NS, "up")
    found = lock_of(port)
    assert value(found, "alarms") == 3  # bits 0 and 1 after 4, bit 3 after 0
    assert value(found, "alarms_per_100") == 300
    assert value(found, "estops") == 2


def test_incoherences_in_maintenance_are_shown_and_not_counted(port: Any) -> None:
    for i, (code, active, hidden) in enumerate(
        [("lock_head_at_opening", 1, 0), ("lock_head_at_opening", 0, 0), ("lock_heartbeat_frozen", 1, 1),
         ("lock_heartbeat_frozen", 1, 0), ("lock_drift_leak_m3_s", 1, 0)]
    ):  # fmt: skip
        fields = {"active": active} | ({"inhibited": 1} if hidden else {})
        port.row("event", LOCK, START_NS + i * NS, fields, code=code, point="x")
    for i in range(8):
        lockage(port, START_NS + i * HOUR_NS, 60 * NS, "up")
    found = lock_of(port)
    assert (found.facts.incoherences.value, found.facts.inhibited) == (2, 1)
    assert value(found, "incoherences_per_100") == 25
    assert found.facts.not_evaluated == {"level_moves_closed"}


def test_pumps_are_integrated_and_kept_apart(port: Any) -> None:
    minutely(port, 2, pump_power_w=[30_000.0] * 61 + [0.0] * 60)
    lockage(port, START_NS, 60 * NS, "up", energy_wh=40_000)
    found = lock_of(port)
    assert value(found, "pump_wh") == 30_250  # an hour, and the half of a minute in which it stops
    assert value(found, "drives_wh") is None  # nobody said whether the register counts them
    assert value(lock_of(port, pumps_in_register=True), "drives_wh") == 9_750
    assert value(lock_of(port, pumps_in_register=False), "drives_wh") == 40_000


def test_answers_of_the_plc(port: Any) -> None:
    for i in range(40):
        port.row("link", LOCK, START_NS + i * 10 * NS, {"connected": 1, "round_trip_ms": 10.0 + i})
    found = lock_of(port)
    assert value(found, "plc_answer_mean_s") == Fraction("0.0295")
    assert value(found, "plc_answer_p95_s") == Fraction("0.047")


def test_a_lock_that_has_no_signal_is_not_measured_and_says_so(port: Any) -> None:
    lr.write(port.store, [START_NS, START_NS + NS], level_chamber_m=[18.0, 18.0])
    catalogues = [lr.catalogue(lr.device(points=["level_chamber_m"]))]
    found = read_lock(port.store, SITE, LOCK, OCTOBER, catalogues)
    for name in ("availability", "teleoperation", "remote_share", "link_share", "takeovers", "alarms", "pump_wh"):
        assert value(found, name) is None, name


def test_hourly_levels_are_means(port: Any) -> None:
    at_ns = START_NS + 3 * HOUR_NS
    lr.write(port.store, [at_ns, at_ns + NS, at_ns + HOUR_NS], level_upstream_m=[21.0, 22.0, 23.0])
    hourly = lock_of(port).time.levels["level_upstream_m"]
    assert hourly.mean_m[3:5].tolist() == [21.5, 23.0] and np.isnan(hourly.mean_m[5])


def _report(port: Any) -> Any:
    port.book.put_catalogue(lr.catalogue())
    return build(port.store, port.book, "2026-10", SITE)


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_a_report_of_a_lock_alone_shows_every_figure_and_names_its_formula(port: Any, lang: str) -> None:
    minutely(port, 2, mode=1, centre_link=1, estop=0, alarm_word=0, level_upstream_m=21.6)
    lockage(port, START_NS, 600 * NS, "up")
    report = _report(port)
    text, texts = render_markdown(report, lang), load_texts(lang)
    assert texts("report.not_measured") in text and texts("report.locks.heading") in text
    figures = [f for f in report.figures() if f.key.startswith("lock")]
    assert all(texts.template(f"report.formula.{f.formula}") for f in figures)
    assert by_key(report.figures()).keys() >= {i for f in figures for i in f.inputs}
    assert report.origins == ("sim",)  # raw rows alone mark a report


def fill(port: Any, store: Any) -> None:
    """An hour of raw rows with a take-over and alarms, lockages, an incoherence, answers of the PLC."""
    t_ns = range(START_NS, START_NS + HOUR_NS + 1, 20 * NS)
    states = {"mode": [1] * 90 + [0] * 91, "alarm_word": [0, 5, 4] * 60 + [4], "centre_link": 1, "estop": 0}
    lr.write(store, t_ns, **states, level_upstream_m=[21.0 + i / 7 for i in range(181)], pump_power_w=1e3 / 3)
    mine = replace(port, store=store)
    lockage(mine, START_NS, 600 * NS, "up", volume_m3=8502.123)
    lockage(mine, START_NS + 900 * NS, 633 * NS, "down", vessel_seen=0, false_lockage=1)
    mine.row("event", LOCK, START_NS + NS, {"active": 1}, code="lock_heartbeat_frozen", point="heartbeat")
    mine.row("link", LOCK, START_NS, {"connected": 1, "round_trip_ms": 12.34})


@pytest.mark.influx
def test_influxdb_and_sqlite_give_the_same_locks(port: Any, influx_server: Any) -> None:
    port.book.put_catalogue(lr.catalogue())
    url = influx_server.access.store_url(f"t-{uuid.uuid4().hex[:12]}")
    with closing(open_store(url, token=TOKEN)) as other:
        found = []
        for store in (port.store, other):
            fill(port, store)
            found.append(issue(store, port.book, "2026-10", SITE))
        assert found[0].manifest == found[1].manifest
        assert found[0].render(Format.MD, "fr") == found[1].render(Format.MD, "fr")
    assert by_key(found[0].report.figures())[f"lock.takeovers/lock={LOCK}"].value == 1


def test_a_filed_month_of_a_lock_says_the_same_without_its_store(port: Any, tmp_path: Path) -> None:
    port.book.put_catalogue(lr.catalogue())
    fill(port, port.store)
    filed = issue(port.store, port.book, "2026-10", SITE, tmp_path / "rows.zip")
    frozen = FrozenStore(tmp_path / "rows.zip")
    assert again(frozen, filed.manifest).manifest["figures_sha256"] == filed.manifest["figures_sha256"]


def test_a_trace_leads_to_the_raw_rows(port: Any, tmp_path: Path) -> None:
    port.book.put_catalogue(lr.catalogue())
    fill(port, port.store)
    issue(port.store, port.book, "2026-10", SITE, tmp_path / "rows.zip")
    chains = []
    for store in (port.store, FrozenStore(tmp_path / "rows.zip")):
        report = build(port.store, port.book, "2026-10", SITE)
        words = Words(report, load_texts("en"))
        chains.append(list(trace(report, store, [lr.catalogue()], f"lock.availability/lock={LOCK}", words)))
    assert chains[0] == chains[1]
    text = "\n".join(chains[0])
    assert "181 rows lock of lock-1" in text.replace("lignes", "rows") and "mode=1 centre_link=1" in text


def test_several_locks_together_tell_how_far_teleoperation_has_come(port: Any) -> None:
    devices = [lr.device(f"lock-{i}") for i in (1, 2, 3)]
    port.book.put_catalogue(lr.catalogue(*devices))
    for lock, mode in (("lock-1", 1), ("lock-2", 0)):
        lr.write(port.store, range(START_NS, START_NS + HOUR_NS + 1, HOLD_NS), lock, mode=mode)
    found = by_key(build(port.store, port.book, "2026-10", SITE).figures())
    values = [found[f"locks.{name}"].value for name in ("count", "remote_count", "remote_share")]
    assert values == [3, 1, Fraction(1, 2)]
    assert found["locks.remote_share"].coverage == Fraction(2, 3 * 745)


def test_a_month_of_a_lock_alone_is_complete_when_the_lock_was_seen(port: Any) -> None:
    minutely(port, 745 * Fraction(99, 100), mode=1, estop=0)
    report = _report(port)
    assert not report.metered and report.complete and report.coverage == Fraction(99, 100)
    assert (report.first_ns, report.stop_ns) == (START_NS, START_NS + 745 * 3600 * NS * 99 // 100)
    text = render_markdown(report, "fr")
    assert "Aucun compteur n'a de minute" not in text and "Couverture du mois** : 99,00" in text


def test_a_period_of_a_half_year_counts_all_its_months(port: Any) -> None:
    for period in (OCTOBER, OCTOBER.before(), Period.parse("2026-06", "Europe/Paris")):
        lockage(port, period.start_ns, 600 * NS, "up")
    assert lock_of(port, period=Period.parse("2026-H2", "Europe/Paris")).facts.total == 2
    assert lock_of(port, period=Period.parse("2026", "Europe/Paris")).facts.total == 3
    assert replace(OCTOBER, span="year").seconds == 365 * 86_400
