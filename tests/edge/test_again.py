"""Rows that come late: calls and lockages end as if all had come in time, each correction a new revision."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edge_rows import NS, START_NS, a_call, load, row
from lock_scans import PLAIN, rows_of
from lock_scans import load as load_lock

from drivers.row import HISTORY, Quality, Row, empty_row
from dsp import calls
from edge import wire
from edge.config import LoadedSite, catalogue
from edge.pipeline import Pipeline
from firmware_sim.plant.lock import PRESETS, Lock

pytestmark = pytest.mark.usefixtures("kernels")
Scan = tuple[str, Row]


def silence(loaded: LoadedSite, device: str, t_ns: int) -> Row:
    """What the poller gives when a device ceases to answer."""
    return empty_row(len(loaded.profiles[device].points), t_ns, Quality.NO_ANSWER)


def with_gap(
    loaded: LoadedSite, rows: list[Scan], away: set[str], first_s: int, last_s: int, back_s: int, history: bool
) -> Iterator[Scan]:
    """Devices are away for a while; what they recorded comes at second `back_s`, newest page first."""
    first_ns, last_ns, back_ns = (START_NS + s * NS for s in (first_s, last_s, back_s))
    lost = [(d, r) for d, r in rows if d in away and first_ns <= r.t_ns < last_ns]
    gone: set[str] = set()
    recovered = False
    for device, scan in rows:
        if device in away and first_ns <= scan.t_ns < last_ns:
            if device not in gone:
                gone.add(device)
                yield device, silence(loaded, device, scan.t_ns)
            continue
        if scan.t_ns >= back_ns and not recovered:
            recovered = True
            half = len(lost) // 2
            for name, late in (*lost[half:], *lost[:half]):
                late.scan = HISTORY if history else late.scan
                yield name, late
        yield device, scan


def newest(pipeline: Pipeline, kind: str) -> dict[int, wire.RowLine]:
    """Of each call or lockage its highest revision, without those that were withdrawn."""
    found: dict[int, wire.RowLine] = {}
    for entry in pipeline.entries:
        line = wire.decode_row(entry.line)
        if line.kind == kind:
            before = found.get(line.t_ns)
            assert int(line.tags["rev"]) == (int(before.tags["rev"]) + 1 if before else 0)
            found[line.t_ns] = line
    return {t: line for t, line in found.items() if "withdrawn" not in line.fields}


def fed(loaded: LoadedSite, rows: Iterator[Scan] | list[Scan]) -> Pipeline:
    pipeline = Pipeline(loaded)
    for device, scan in rows:
        pipeline.take(device, scan)
    return pipeline


def two_calls(loaded: LoadedSite) -> list[Scan]:
    """A ferry is charged for a while, leaves, and the next one comes; 40 minutes, a row of each every 3 s."""
    devices = ("charger", "meter", "bms")
    later = list(a_call(loaded, 4, 900))
    index = loaded.profiles["meter"].index["energy_import_total_wh"]
    for device, scan in later:
        scan.t_ns += 1500 * NS
        if device == "meter":
            scan.values[index] += 2_200_000
    rows = [*a_call(loaded, 3, 1500), *later]
    return [(d, r) for d, r in rows if d in devices and (r.text or (r.t_ns - START_NS) // NS % 3 == 0)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> LoadedSite:
    return load(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def whole(site: LoadedSite, kernels: None) -> Pipeline:
    """What all rows give, had they come in time."""
    return fed(site, two_calls(site))


GAPS = {  # from, to, and when the rows of it come [s]
    "in the middle": (400, 700, 720),
    "over the begin": (30, 300, 330),
    "over the end": (1300, 1450, 1460),
    "over the end, after it was told": (1300, 1420, 1780),
    "over the first call's end and the second one's begin": (1200, 1700, 1760),
    "long, so that one call was told as two": (200, 1250, 1300),
}


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("name", GAPS)
def test_calls_with_late_rows_end_as_if_all_had_come_in_time(
    site: LoadedSite, whole: Pipeline, name: str, history: bool
) -> None:
    away = {"charger", "meter"} if history else {"charger"}
    late = fed(site, with_gap(site, two_calls(site), away, *GAPS[name], history))
    expected, found = newest(whole, "session"), newest(late, "session")
    assert len(expected) == 2
    assert found.keys() == expected.keys()
    for t_ns, call in expected.items():
        again = found[t_ns]
        assert again.fields.keys() == call.fields.keys()
        for field, value in call.fields.items():
            assert again.fields[field] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
    types = catalogue(site).field_types()
    assert [e.line for e in late.entries if wire.problem_with(wire.decode_row(e.line), types)] == []


def test_the_charge_at_the_begin_of_a_call_is_found_when_the_batterys_rows_come(
    site: LoadedSite, whole: Pipeline
) -> None:
    rows = two_calls(site)
    early = fed(site, [(d, r) for d, r in two_calls(site) if d != "bms" or r.t_ns > START_NS + 280 * NS])
    late = fed(site, with_gap(site, rows, {"bms"}, 40, 280, 290, True))
    first = min(newest(late, "session").values(), key=lambda call: call.t_ns)
    without = min(newest(early, "session").values(), key=lambda call: call.t_ns)
    told = min(newest(whole, "session").values(), key=lambda call: call.t_ns)
    assert first.fields["soc_start"] == told.fields["soc_start"]
    assert abs(float(without.fields["soc_start"]) - float(first.fields["soc_start"])) > 1e-6


def test_all_rows_in_one_call_of_the_kernel_give_the_same_calls(whole: Pipeline) -> None:
    """What a recomputation ashore does: columns in order of time, one call."""
    pipeline = whole
    charge = {r.t_ns: float(r.fields["soc"]) for e in pipeline.entries
              if (r := wire.decode_row(e.line)).kind == "soc"}  # fmt: skip
    rows = []
    for entry in pipeline.entries:
        r = wire.decode_row(entry.line)
        nan = float("nan")
        known = {name: float(value) for name, value in r.fields.items() if not isinstance(value, str)}
        if r.kind == "charger" and "q" in r.fields | known:
            values = (known.get("state", nan), known.get("mated", nan), known.get("power_w", nan))
            rows.append((r.t_ns, calls.CHARGER, *values, nan, 0, nan))
        elif r.kind == "meter":
            register = known.get("energy_import_total_wh", nan)
            rows.append((r.t_ns, calls.METER, nan, nan, known.get("power_w", nan), register, 1, nan))
        elif r.kind == "battery":
            rows.append((r.t_ns, calls.CHARGE, nan, nan, nan, nan, 0, charge.get(r.t_ns, nan)))
    table = np.array(sorted(rows, key=lambda x: x[0]), calls.ROW)
    out = np.zeros(8, calls.OUT)
    max_gap_ns = pipeline._compute._units["berth b1"]._unit.max_gap_ns  # type: ignore[attr-defined]
    n = calls.run(calls.init(), table, max_gap_ns, out)
    told = newest(pipeline, "session")
    assert [int(t) for t in out["start_ns"][:n]] == sorted(told)
    for call in out[:n]:
        for name in calls.OUT.names:
            if name in (said := told[int(call["start_ns"])].fields):
                assert float(call[name]) == pytest.approx(float(said[name]), rel=1e-9)  # as rows are written


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory, kernels: None) -> tuple[LoadedSite, dict[int, wire.RowLine]]:
    """A site with a lock, and its lockages had all rows come in time."""
    loaded = load_lock(tmp_path_factory.mktemp("lock"), PLAIN)
    return loaded, newest(fed(loaded, lock_rows(loaded)), "lock_cycle")


def lock_rows(loaded: LoadedSite) -> list[Scan]:
    return [("lock", r) for r in rows_of(loaded, Lock(PRESETS["fall-4.9"], 7), range(1, 3200, 2))]


@pytest.mark.parametrize("gap", [(300, 1200, 1260), (1000, 2600, 2610), (2000, 2300, 2840)])
def test_lockages_with_late_rows_end_as_if_all_had_come_in_time(
    lock: tuple[LoadedSite, dict[int, wire.RowLine]], gap: tuple[int, int, int]
) -> None:
    loaded, expected = lock
    late = fed(loaded, with_gap(loaded, lock_rows(loaded), {"lock"}, *gap, True))
    found = newest(late, "lock_cycle")
    assert len(expected) >= 2
    assert {t: dict(x.fields) for t, x in found.items()} == {t: dict(x.fields) for t, x in expected.items()}
    assert [e for e in late.entries if e.line.startswith("event")] == []


def test_a_kill_among_late_rows_changes_nothing(site: LoadedSite) -> None:
    loaded = site

    def rows() -> list[Scan]:
        return list(with_gap(loaded, two_calls(loaded), {"charger", "meter", "bms"}, 400, 700, 720, True))

    at = [200, 390, 420, 600, 1000]  # before the gap, among the late rows, after them
    told, kept = Pipeline(loaded), []
    for i, (device, scan) in enumerate(rows()):
        if i in at:
            kept.append((i, told.checkpoint(), len(told.entries)))
        told.take(device, scan)
    assert any("late=1i" in e.line for e in told.entries[kept[0][2] : kept[-1][2]])
    for i, checkpoint, entries in kept:
        second = Pipeline(loaded)
        second.resume(checkpoint, [])
        assert second.checkpoint() == checkpoint
        for device, scan in rows()[i : i + 400]:
            second.take(device, scan)
        assert [e.line for e in second.entries] == [e.line for e in told.entries[entries:]][: len(second.entries)]
    replayed = Pipeline(loaded)
    replayed.resume(None, [e.line for e in told.entries if e.replay])
    assert replayed.checkpoint() == told.checkpoint()


def test_a_lock_whose_profile_changed_begins_with_its_own_state_only(tmp_path: Path) -> None:
    loaded = load_lock(tmp_path, PLAIN)
    unit = fed(loaded, [("lock", r) for r in rows_of(loaded, Lock(PRESETS["fall-4.9"], 7), range(1, 40))])
    state = unit._compute._units["lock lock"].state()
    other = Pipeline(loaded)._compute._units["lock lock"]
    other._unit.ROW = np.dtype([*other._unit.ROW.descr, ("more", "f8")])  # type: ignore[attr-defined]
    other.restore(state)
    assert other._rows == []  # type: ignore[attr-defined]


def test_late_rows_from_before_what_is_remembered_are_told_once(loaded: LoadedSite) -> None:
    rows = [(d, r) for d, r in two_calls(loaded) if d == "charger"]
    pipeline = fed(loaded, rows)
    pipeline.take("charger", row(loaded, "charger", START_NS + 5 * NS + 1, state=7.0, mated=1.0))
    pipeline.take("charger", row(loaded, "charger", rows[-1][1].t_ns + NS, state=0.0, mated=0.0))
    events = [wire.decode_row(e.line) for e in pipeline.entries if e.line.startswith("event")]
    assert [(e.tags["code"], e.tags["device"], e.fields["rows"]) for e in events] == [
        ("late_rows_not_counted", "charger", 1)
    ]
