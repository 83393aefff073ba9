"""From scans to lines: nothing twice, nothing gone, and the same state after a restart at any instant."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from edge_rows import NS, START_NS, a_call, load, row

from drivers.row import HISTORY, Quality, Row
from edge import wire
from edge.config import LoadedSite, catalogue
from edge.pipeline import Pipeline
from edge.spool import Spool

pytestmark = pytest.mark.usefixtures("kernels")


def lines_of(pipeline: Pipeline) -> list[str]:
    return [entry.line for entry in pipeline.entries]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[list[str], bytes]]:
    """By seed: the lines of a call without any restart, and the checkpoint in the end."""
    loaded = load(tmp_path_factory.mktemp("site"))

    @cache
    def run(seed: int) -> tuple[list[str], bytes]:
        whole = Pipeline(loaded)
        for device, scan in a_call(loaded, seed):
            whole.take(device, scan)
        return lines_of(whole), whole.checkpoint()

    return run


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("checkpoint_at", "killed_at"), [(0, 1), (700, 701), (1500, 2600), (2599, 2600), (0, 3000)]
)
def test_a_restart_goes_on_as_if_nothing_had_happened(
    loaded: LoadedSite, tmp_path: Path, uninterrupted: Callable[[int], tuple[list[str], bytes]],
    seed: int, checkpoint_at: int, killed_at: int,
) -> None:  # fmt: skip
    lines, end = uninterrupted(seed)
    rows = list(a_call(loaded, seed))
    spool, first = Spool(tmp_path / "spool.db"), Pipeline(loaded)
    for i, (device, scan) in enumerate(rows[:killed_at]):
        if i == checkpoint_at:
            spool.commit(first.entries, first.checkpoint())
            first.entries = []
        first.take(device, scan)
    spool.commit(first.entries)
    before = _all_rows(spool)
    spool.close()

    again, second = Spool(tmp_path / "spool.db"), Pipeline(loaded)
    second.resume(*again.replay())
    assert second.checkpoint() == first.checkpoint()  # bit for bit
    assert second.entries == []  # a replay emits nothing
    for device, scan in rows[killed_at:]:
        second.take(device, scan)
    assert before + lines_of(second) == lines
    assert second.checkpoint() == end


def _all_rows(spool: Spool) -> list[str]:
    return [line for (line,) in spool._db.execute("SELECT line FROM row ORDER BY seq")]


def test_a_call_is_counted_by_the_register(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    registers = []
    for device, scan in a_call(loaded):
        if device == "meter":
            registers.append(int(scan.values[loaded.profiles["meter"].index["energy_import_total_wh"]]))
        pipeline.take(device, scan)
    rows = [wire.decode_row(line) for line in lines_of(pipeline)]
    (call,) = [r for r in rows if r.kind == "session"]
    assert call.tags["vessel"] == "ferry-aurelie"
    assert call.tags["rev"] == "0"
    assert call.fields["energy_wh"] == registers[-1] - registers[0]
    assert call.fields.keys() <= wire.COMPUTED["session"].keys()
    minutes = [r for r in rows if r.kind == "energy_1m"]
    assert len({r.t_ns for r in minutes}) == len(minutes)
    for minute in minutes:
        assert minute.fields.keys() == wire.COMPUTED["energy_1m"].keys()
    total = sum(int(m.fields["import_wh"]) for m in minutes)
    assert total == int(minutes[-1].fields["register_import_wh"]) - registers[0]
    hole = [m for m in minutes if float(m.fields["covered_s"]) < 30]
    assert hole  # the minute without the meter
    assert sum(int(m.fields["estimated_wh"]) for m in hole) > 0


def test_every_line_fits_the_catalogue(loaded: LoadedSite) -> None:
    types = catalogue(loaded).field_types()
    pipeline = Pipeline(loaded)
    for device, scan in a_call(loaded):
        pipeline.take(device, scan)
    kinds = set()
    for line in lines_of(pipeline):
        decoded = wire.decode_row(line)
        kinds.add(decoded.kind)
        assert wire.problem_with(decoded, types) is None
    assert kinds >= {"charger", "meter", "battery", "lock", "energy_1m", "soc", "session"}


def test_two_rows_of_a_device_never_share_an_instant(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    for t_ns in (1000, 1000, 999, 1001):
        pipeline.take("meter", row(loaded, "meter", t_ns, power_w=1.0))
    times = [entry.t_ns for entry in pipeline.entries]
    assert times == [1000, 1001, 1002, 1003]


def test_unknown_values_travel_as_quality_not_as_numbers(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    scan = row(loaded, "meter", 1000, power_w=5.0)
    scan.quality[loaded.profiles["meter"].index["frequency_hz"]] = Quality.NO_ANSWER
    pipeline.take("meter", scan)
    decoded = wire.decode_row(pipeline.entries[0].line)
    assert decoded.fields["power_w"] == 5.0
    assert "frequency_hz" not in decoded.fields
    digits = decoded.fields["q"]
    assert isinstance(digits, str)
    names = [p.name for p in loaded.profiles["meter"].points]
    assert digits[names.index("frequency_hz")] == "b"
    assert digits[names.index("power_w")] == "2"  # a number, of a meter that has proven nothing yet
    assert digits[names.index("reactive_import_total_varh")] == "f"


def test_a_frozen_heartbeat_ends_the_estimate(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    for second in range(120):
        pipeline.take(
            "bms",
            row(loaded, "bms", 10**15 + second * 10**9, pack_voltage_v=880.0, pack_current_a=0.0, pack_temp_c=20.0,
                heartbeat=float(min(second, 60))),
        )  # fmt: skip
    newest = max(wire.decode_row(e.line).t_ns for e in pipeline.entries if e.line.startswith("soc,"))
    assert 60 <= (newest - 10**15) / 1e9 <= 72


def past(loaded: LoadedSite, device: str, t_ns: int, **values: float) -> Row:
    found = row(loaded, device, t_ns, **values)
    found.scan = HISTORY
    return found


def test_what_a_server_kept_of_a_gap_is_stored_and_gives_the_charge_of_its_instants(loaded: LoadedSite) -> None:
    def run(late: list[Row]) -> Pipeline:
        pipeline = Pipeline(loaded)
        for second in (0, 1, 2, 600, 601):
            scan = row(loaded, "bms", START_NS + second * NS, pack_voltage_v=880.0, pack_current_a=5.0)
            pipeline.take("bms", scan)
            if second == 600:
                for one in late:
                    pipeline.take("bms", one)
        return pipeline

    times = [START_NS + second * NS for second in range(10, 590, 10)]
    late = [past(loaded, "bms", t_ns, pack_voltage_v=900.0, pack_current_a=99.0) for t_ns in times]
    without, with_past = run([]), run(late)
    stored = [entry for entry in with_past.entries if "900.0" in entry.line]
    assert [entry.t_ns for entry in stored] == times, "its instants are its source's"
    assert {(entry.lane, entry.replay) for entry in stored} == {("detail", True)}
    charges = [wire.decode_row(line) for line in lines_of(with_past) if line.startswith("soc,")]
    said = [r.t_ns for r in charges]
    assert sorted(said) == sorted([START_NS + s * NS for s in (0, 1, 2, 600, 601)] + times)
    before = [line for line in lines_of(without) if not line.startswith("soc,") or f" {said[-1]}" not in line]
    assert set(before) <= set(lines_of(with_past)), "what was said stays; only the newest estimate knows more"
    again = run(late)
    assert [e.line for e in again.entries] == [e.line for e in with_past.entries], "the same past, the same rows"


def test_a_past_belongs_to_a_vessel_only_if_it_was_there_before(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    vessel = loaded.profiles["bms"].index["vessel"]

    def live(second: int, name: str) -> Row:
        scan = row(loaded, "bms", START_NS + second * NS, soc_bms=0.5)
        scan.text[vessel] = name
        return scan

    def vessel_of_the_past(second: int) -> str:
        pipeline.take("bms", past(loaded, "bms", START_NS + second * NS, soc_bms=0.4))
        return wire.decode_row(pipeline.entries[-1].line).tags["vessel"]

    pipeline.take("bms", live(0, "AURELIE"))
    pipeline.take("bms", live(100, "AURELIE"))
    assert vessel_of_the_past(50) == "ferry-aurelie"
    pipeline.take("bms", live(200, "MYSTERE"))
    assert vessel_of_the_past(150) == "unknown"


def test_rows_of_an_untrusted_clock_say_so(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    pipeline.trusted = False
    pipeline.take("meter", row(loaded, "meter", 1000, power_w=5.0))
    assert wire.decode_row(pipeline.entries[0].line).fields["clk"] == 0


def test_a_device_that_left_the_site_file_is_passed_over(tmp_path: Path, loaded: LoadedSite) -> None:
    pipeline = Pipeline(load(tmp_path))
    line = "meter,site=port,gateway=gw,device=gone,origin=sim power_w=1.0 5"
    assert pipeline.resume(None, [line]) == 0


def calls_of(pipeline: Pipeline) -> list[wire.RowLine]:
    rows = [wire.decode_row(line) for line in lines_of(pipeline)]
    return [r for r in rows if r.kind == "session"]


def test_a_call_belongs_to_the_ship_that_made_it(loaded: LoadedSite) -> None:
    """The tower's link is away while one ship leaves and the next one moors."""
    pipeline = Pipeline(loaded)
    for device, scan in a_call(loaded, seconds=600):
        if scan.t_ns < START_NS + 400 * NS:
            pipeline.take(device, scan)
    later_ns = START_NS + 3600 * NS
    pipeline.take("charger", row(loaded, "charger", later_ns, text="BETTY"))
    for second in range(60):
        pipeline.take("charger", row(loaded, "charger", later_ns + second * NS, state=7.0, mated=1.0, power_w=1e6))
    (call,) = calls_of(pipeline)
    assert call.tags["vessel"] == "ferry-aurelie"


def test_a_call_does_not_begin_with_yesterdays_charge(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    for device, scan in a_call(loaded, seconds=300):
        if device == "bms":
            pipeline.take(device, scan)
    assert pipeline._compute._units["battery bms"]._unit._soc == pytest.approx(0.4, abs=0.3)  # type: ignore[attr-defined]
    gone = row(loaded, "bms", START_NS + 400 * NS)
    pipeline.take("bms", gone)
    battery = pipeline._compute._units["battery bms"]._unit  # type: ignore[attr-defined]
    assert battery._soc != battery._soc


def test_a_clock_that_was_wrong_by_decades_does_not_flood(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    for t_ns, register in ((10 * NS, 100.0), (START_NS, 5000.0), (START_NS + 120 * NS, 5060.0)):
        pipeline.take("meter", row(loaded, "meter", t_ns, power_w=1800.0, energy_import_total_wh=register))
    rows = [wire.decode_row(line) for line in lines_of(pipeline)]
    assert len(rows) < 20
    assert [r.tags["code"] for r in rows if r.kind == "event"] == ["counter_gap_refused"]
    assert sum(int(r.fields["import_wh"]) for r in rows if r.kind == "energy_1m") <= 60


def test_a_state_of_another_version_is_not_read(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    for device, scan in a_call(loaded, seconds=100):
        pipeline.take(device, scan)
    saved = json.loads(pipeline.checkpoint())
    saved["layout"] = "another"
    fresh = Pipeline(loaded)
    fresh.resume(json.dumps(saved).encode(), [])
    assert json.loads(fresh.checkpoint())["states"] == json.loads(Pipeline(loaded).checkpoint())["states"]
    assert fresh.newest_ns() == pipeline.newest_ns()  # the time of rows on disk still counts


def test_a_single_precision_number_travels_in_its_shortest_form(loaded: LoadedSite) -> None:
    index = loaded.profiles["meter"].index
    singles = [np.float32(x) for x in (230.1, 1 / 3, 6_998_400.0, 16_777_217.0, 1e-7, -50.012345, 3.4e38, 0.0)]
    for i, single in enumerate(singles):
        pipeline = Pipeline(loaded)
        pipeline.take("meter", row(loaded, "meter", 1000 + i, power_w=float(single)))
        told = wire.decode_row(pipeline.entries[0].line).fields["power_w"]
        assert np.float32(told) == single, "nothing is lost"
        assert told == float(str(single)), "and nothing is added"
    scan = row(loaded, "meter", 1000, power_w=float("nan"), frequency_hz=float(np.float32(50.01)))
    pipeline = Pipeline(loaded)
    pipeline.take("meter", scan)
    assert scan.values[index["frequency_hz"]] == 50.01 and np.isnan(scan.values[index["power_w"]])


def test_an_estimate_has_the_digits_that_mean_something(loaded: LoadedSite) -> None:
    pipeline = Pipeline(loaded)
    for device, scan in a_call(loaded, seconds=90):
        pipeline.take(device, scan)
    rows = [wire.decode_row(line) for line in lines_of(pipeline)]
    estimates = [r for r in rows if r.kind == "soc"]
    assert estimates
    for estimate in estimates:
        for name, value in estimate.fields.items():
            assert value == round(float(value), wire.DIGITS["soc"][name])
    assert wire.DIGITS["soc"].keys() == wire.COMPUTED["soc"].keys()
