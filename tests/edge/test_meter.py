"""A meter on the gateway: late rows, replaced meters, register against power; and calls that nobody saw begin."""

import math
import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from edge_rows import NS, SITE, START_NS, row

from drivers.row import HISTORY, Quality, Row, empty_row
from edge import wire
from edge.config import LoadedSite, catalogue
from edge.pipeline import Pipeline

pytestmark = pytest.mark.usefixtures("kernels")
MINUTE_NS = 60 * NS


def meter_rows(loaded: LoadedSite, seed: int, seconds: int = 2400, resets_at: int = -1) -> list[Row]:
    """A meter once a second; its power wanders, its register follows it exactly."""
    random = np.random.default_rng(seed)
    power_w = np.abs(np.cumsum(random.normal(0.0, 2e5, seconds))) % 8e6
    wh = 5e6 + np.concatenate([[0.0], np.cumsum(0.5 * (power_w[1:] + power_w[:-1]) / 3600)])
    if resets_at >= 0:
        wh[resets_at:] -= wh[resets_at]
    return [
        row(loaded, "meter", START_NS + s * NS, power_w=float(power_w[s]),
            energy_import_total_wh=math.floor(wh[s]), energy_export_total_wh=0.0)
        for s in range(seconds)
    ]  # fmt: skip


def silence(loaded: LoadedSite, t_ns: int) -> Row:
    """What the poller gives when a device ceases to answer."""
    return empty_row(len(loaded.profiles["meter"].points), t_ns, Quality.NO_ANSWER)


def told(pipeline: Pipeline, kind: str) -> list[wire.RowLine]:
    return [wire.decode_row(entry.line) for entry in pipeline.entries if entry.line.startswith(f"{kind},")]


def codes(pipeline: Pipeline) -> list[str]:
    return [r.tags["code"] for r in told(pipeline, "event")]


def newest_minutes(pipeline: Pipeline) -> dict[int, dict[str, wire.Value]]:
    """Of each minute its highest revision; every revision comes once, in order."""
    found: dict[int, tuple[int, dict[str, wire.Value]]] = {}
    for minute in told(pipeline, "energy_1m"):
        rev = int(minute.tags["rev"])
        assert rev == (found[minute.t_ns][0] + 1 if minute.t_ns in found else 0)
        found[minute.t_ns] = (rev, dict(minute.fields))
    return {t_ns: fields for t_ns, (_, fields) in found.items()}


def with_a_gap(loaded: LoadedSite, rows: list[Row], gap: range, late_after: int) -> Iterator[Row]:
    """The device is away for a while; what it recorded comes `late_after` rows after it answers again."""
    yield from rows[: gap.start]
    yield silence(loaded, rows[gap.start - 1].t_ns + NS // 2)
    yield from rows[gap.stop : gap.stop + late_after]
    yield from rows[gap.start : gap.stop]
    yield from rows[gap.stop + late_after :]


@pytest.mark.parametrize("seed", range(12))
def test_minutes_with_late_rows_end_as_if_all_had_come_in_time(loaded: LoadedSite, seed: int) -> None:
    random = np.random.default_rng(seed)
    start, length, after = (
        int(random.integers(200, 900)),
        int(random.integers(20, 900)),
        int(random.integers(1, 200)),
    )
    resets_at = start + length // 2 if seed % 4 == 3 else -1
    whole, late = Pipeline(loaded), Pipeline(loaded)
    for scan in meter_rows(loaded, seed, resets_at=resets_at):
        whole.take("meter", scan)
    rows = meter_rows(loaded, seed, resets_at=resets_at)
    for scan in with_a_gap(loaded, rows, range(start, start + length), after):
        late.take("meter", scan)
    expected, found = newest_minutes(whole), newest_minutes(late)
    assert found == expected
    raw = {r.t_ns for r in told(late, "meter")}
    assert {r.t_ns for r in told(whole, "meter")} <= raw, "each late row is on record at its own instant"
    assert "minutes_revised" in codes(late)
    types = catalogue(loaded).field_types()
    assert not any(wire.problem_with(wire.decode_row(e.line), types) for e in late.entries)


@pytest.mark.parametrize("seed", range(4))
def test_the_history_of_a_server_counts_as_if_it_had_been_polled(loaded: LoadedSite, seed: int) -> None:
    """It comes before the first scan on the new connection, newer than all that went before."""
    whole, late = Pipeline(loaded), Pipeline(loaded)
    for scan in meter_rows(loaded, seed):
        whole.take("meter", scan)
    gap = range(700, 700 + 200 * (seed + 1))
    rows = meter_rows(loaded, seed)
    for i in gap:
        rows[i].scan = HISTORY
    for scan in [*rows[: gap.start], silence(loaded, rows[gap.start - 1].t_ns + 1), *rows[gap.start :]]:
        late.take("meter", scan)
    assert newest_minutes(late) == newest_minutes(whole)
    assert all(minute.tags["rev"] == "0" for minute in told(late, "energy_1m"))
    assert sum(r.fields.get("late", 0) == 1 for r in told(late, "meter")) == len(gap)
    again = Pipeline(loaded)
    again.resume(None, [e.line for e in late.entries if e.replay])
    assert again.checkpoint() == late.checkpoint()


@pytest.mark.parametrize("killed_at", [450, 799, 812, 1000, 1100, 1101, 1102, 1500])
def test_a_kill_among_late_rows_changes_nothing(loaded: LoadedSite, killed_at: int) -> None:
    def rows() -> list[Row]:
        return list(with_a_gap(loaded, meter_rows(loaded, 5, 2000), range(500, 800), 300))

    whole, first, second = Pipeline(loaded), Pipeline(loaded), Pipeline(loaded)
    for scan in rows():
        whole.take("meter", scan)
    for scan in rows()[:killed_at]:
        first.take("meter", scan)
    second.resume(first.checkpoint(), [])
    assert second.checkpoint() == first.checkpoint()
    for scan in rows()[killed_at:]:
        second.take("meter", scan)
    assert [e.line for e in first.entries + second.entries] == [e.line for e in whole.entries]
    assert second.checkpoint() == whole.checkpoint()
    replayed = Pipeline(loaded)
    replayed.resume(None, [e.line for e in whole.entries if e.replay])
    assert replayed.checkpoint() == whole.checkpoint()


def test_rows_older_than_what_is_remembered_are_kept_and_said_to_be_uncounted(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    rows = meter_rows(loaded, 1)
    for scan in rows:
        pipeline.take("meter", scan)
    before = newest_minutes(pipeline)
    pipeline.take("meter", row(loaded, "meter", START_NS + 5 * NS + 1, power_w=1.0))
    pipeline.take("meter", row(loaded, "meter", rows[-1].t_ns + NS, power_w=1.0))
    assert newest_minutes(pipeline) == before
    assert codes(pipeline) == ["late_rows_not_counted"]
    assert START_NS + 5 * NS + 1 in {r.t_ns for r in told(pipeline, "meter")}


def test_what_is_remembered_of_a_meter_is_bounded(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    for i in range(9000):  # ten times a second, for a quarter of an hour
        scan = row(loaded, "meter", START_NS + i * NS // 10, power_w=1.0, energy_import_total_wh=5.0)
        pipeline.take("meter", scan)
    late = pipeline._compute._units["meter meter"]._late  # type: ignore[attr-defined]
    assert 0 < len(late._rows) <= 4000
    assert len(late._minutes) < 20


def test_register_and_power_that_part_are_told_once_and_again_when_they_agree(loaded: LoadedSite) -> None:
    pipeline, wh = Pipeline(loaded), 1e6
    for second in range(4 * 3600):
        power_w = 1e6
        wh += power_w / 3600
        shown_w = power_w / 3 if 3600 <= second < 7300 else power_w  # a phase is lost
        pipeline.take("meter", row(
            loaded, "meter", START_NS + second * NS, power_w=shown_w, energy_import_total_wh=math.floor(wh)
        ))  # fmt: skip
    found = [r.fields for r in told(pipeline, "event") if r.tags["code"] == "register_parts_from_power"]
    assert [f["active"] for f in found] == [1, 0]
    assert float(found[0]["register_wh"]) - float(found[0]["power_wh"]) > float(found[0]["allowed_wh"])


def test_a_meter_replaced_by_the_site_file_loses_no_energy(tmp_path: Path) -> None:
    table = """
[[device.meter.replacement]]
at = 2026-09-21T14:20:00Z
closing_import_wh = 5_010_000
opening_import_wh = 17
reason = "verification"
"""
    path = tmp_path / "site.toml"
    text = SITE.format(port=1, charger=1, meter=1).replace("max_power_w = 1e7\n", "max_power_w = 1e7\n" + table)
    path.write_text(text)
    loaded = LoadedSite.load(path)
    change_ns = 1_790_000_400 * NS
    pipeline, power_w = Pipeline(loaded), 90e3
    for second in range(1, 900, 2):
        t_ns = START_NS + second * NS
        register = 5_000_000 + 25 * second if t_ns < change_ns else 17 + 25 * (second - 400)
        pipeline.take("meter", row(loaded, "meter", t_ns, power_w=power_w, energy_import_total_wh=float(register)))
    (event,) = told(pipeline, "event")
    assert event.tags["code"] == "counter_replaced"
    assert (event.fields["before_wh"], event.fields["after_wh"]) == (5_010_000, 17)
    minutes = newest_minutes(pipeline)
    assert {m["epoch"] for m in minutes.values()} == {0, 1}
    assert {m["import_wh"] for t, m in minutes.items() if t >= START_NS} == {1500}
    assert all(m["integrated_wh"] == 0 and m["estimated_wh"] == 0 for m in minutes.values())


def call(loaded: LoadedSite, seen: Collection[int], meter_seen: range = range(10_000)) -> dict[str, wire.Value]:
    """A call from second 60 to 660; rows of the tower come only while `seen`, the meter's while `meter_seen`."""
    pipeline, wh = Pipeline(loaded), 1e6
    for second in range(1900):
        t_ns, mated = START_NS + second * NS, 60 <= second < 660
        power_w = 3.6e6 if 100 <= second < 600 else 0.0
        wh += power_w / 3600
        if second in meter_seen:
            pipeline.take("meter", row(loaded, "meter", t_ns, power_w=power_w, energy_import_total_wh=wh))
        elif second == meter_seen.stop:
            pipeline.take("meter", silence(loaded, t_ns))
        if second in seen:
            pipeline.take("charger", row(loaded, "charger", t_ns, state=7.0, mated=float(mated), power_w=power_w))
    (found,) = told(pipeline, "session")
    return dict(found.fields)


def test_a_call_seen_from_begin_to_end_is_known_and_covered(loaded: LoadedSite) -> None:
    found = call(loaded, range(1900))
    assert (found["begin_known"], found["end_known"]) == (1, 1)
    assert (found["begin_unseen_s"], found["end_unseen_s"]) == (0.0, 0.0)
    assert found["covered_s"] == pytest.approx(599, abs=1.5)
    assert found["energy_wh"] == 500_000
    assert found["first_power_s"] == 40.0
    start_ns = int(found["peak_10min_ns"])
    assert start_ns % (600 * NS) == 0
    overlap_s = (min(START_NS + 600 * NS, start_ns + 600 * NS) - max(START_NS + 100 * NS, start_ns)) / NS
    assert found["peak_10min_w"] == pytest.approx(3.6e6 * overlap_s / 600, rel=0.01)


def test_a_call_whose_begin_or_end_nobody_saw_says_so(loaded: LoadedSite) -> None:
    late = call(loaded, range(300, 1900))  # the gateway's first row of the tower
    assert (late["begin_known"], late["end_known"]) == (0, 1)
    assert "begin_unseen_s" not in late
    rows = [*range(30), *range(300, 1900)]
    back = call(loaded, rows)
    assert (back["begin_known"], back["end_known"]) == (0, 1)
    assert back["begin_unseen_s"] == 271.0
    gone = call(loaded, [*range(400), *range(900, 1900)])
    assert (gone["begin_known"], gone["end_known"]) == (1, 0)
    assert gone["end_unseen_s"] == 501.0


def test_the_towers_own_power_covers_nothing_of_the_meter(loaded: LoadedSite) -> None:
    found = call(loaded, range(1900), range(300))
    assert float(found["covered_s"]) == pytest.approx(240, abs=2)
    assert found["connected_s"] == 599.0
    assert found["integrated_wh"] == pytest.approx(500_000, rel=0.02)


def other_site(folder: Path, change: str) -> LoadedSite:
    """The meter's address, its profile or its ratio has changed."""
    shipped = (resources.files("drivers") / "profiles" / "generic-meter.toml").read_text()
    (folder / "ours.toml").write_text(re.sub(r'model += ".*"', 'model = "ours"', shipped))
    text = SITE.format(port=1, charger=1, meter=1)
    before, after = {
        "address": ("timeout_s = 0.3", "timeout_s = 0.3\nunit_id = 9"),
        "profile": ('"generic-meter"', '"ours.toml"'),
        "ratio": ("max_power_w = 1e7", 'max_power_w = 1e7\nct_ratio = 800\nregisters = "secondary"'),
        "nothing": ("timeout_s = 0.3", "timeout_s = 0.5"),
    }[change]
    assert before in text
    (folder / "site.toml").write_text(text.replace(before, after))
    return LoadedSite.load(folder / "site.toml")


@pytest.mark.parametrize("change", ["address", "profile", "ratio", "nothing"])
@pytest.mark.parametrize("restarts", [False, True])
def test_the_registers_of_two_meters_are_not_subtracted(
    tmp_path: Path, loaded: LoadedSite, change: str, restarts: bool
) -> None:
    def scan(site: LoadedSite, second: int, register_wh: float) -> Row:
        made: Row = row(site, "meter", START_NS + second * NS, power_w=36e3, energy_import_total_wh=register_wh)
        return made

    pipeline, new = Pipeline(loaded), other_site(tmp_path, change)
    for second in range(120):
        pipeline.take("meter", scan(loaded, second, 5e6 + 10 * second))
    state = pipeline.checkpoint()
    for second in range(120, 150):
        pipeline.take("meter", scan(loaded, second, 5e6 + 10 * second))
    if restarts:  # killed: what came after the checkpoint is fed again
        lines = [entry.line for entry in pipeline.entries if entry.replay][-30:]
        pipeline = Pipeline(new)
        pipeline.resume(state, lines)
    else:
        pipeline.adopt(new)
    pipeline.entries = []
    ratio = 800 if change == "ratio" else 1
    base = 5e6 if change == "nothing" else (5e6 + 3000) / ratio  # another one happens to show 1.5 kWh more
    for second in range(150, 400):
        pipeline.take("meter", scan(new, second, base + 10 * second / ratio))
    minutes = newest_minutes(pipeline).values()
    assert pipeline.has_other_meters == (change != "nothing")
    assert {m["epoch"] for m in minutes} == ({0} if change == "nothing" else {1})
    counted = sum(float(m["import_wh"]) for m in minutes)
    most = 10 * 250 + (10 * 30 if change == "nothing" else 0)
    assert 10 * 180 <= counted <= most, counted


def test_a_meter_of_another_model_goes_on_from_its_replacement(tmp_path: Path, loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    other_site(tmp_path, "profile")
    for second in range(130):
        taken = row(
            loaded, "meter", START_NS + second * NS, power_w=36e3, energy_import_total_wh=5e6 + 10 * second
        )
        pipeline.take("meter", taken)
    at = datetime.fromtimestamp(START_NS // NS + 140, UTC).isoformat()
    text = (
        (tmp_path / "site.toml")
        .read_text()
        .replace(
            '[[device]]\nname = "bms"',
            f"[[device.meter.replacement]]\nat = {at}\nclosing_import_wh = 5001350\nopening_import_wh = 7\n"
            '[[device]]\nname = "bms"',
        )
    )
    (tmp_path / "site.toml").write_text(text)
    new = LoadedSite.load(tmp_path / "site.toml")
    pipeline.adopt(new)
    assert not pipeline.has_other_meters
    pipeline.take("meter", row(new, "meter", START_NS + 150 * NS, power_w=36e3, energy_import_total_wh=107.0))
    assert "counter_replaced" in codes(pipeline)
