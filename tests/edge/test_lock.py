"""A lock on the gateway: from the site file's topology to events, lockages and trends."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edge_rows import NS, START_NS
from lock_scans import PLAIN, PROFILE, WITH_MIDDLE_GATE, load, rows_of

from drivers.row import Row
from edge import wire
from edge.config import ConfigError, LoadedSite, catalogue
from edge.lock_site import shape_of
from edge.pipeline import Pipeline
from firmware_sim.plant.lock import PRESETS, Lock

pytestmark = pytest.mark.usefixtures("kernels")


def told(pipeline: Pipeline) -> list[wire.RowLine]:
    return [wire.decode_row(entry.line) for entry in pipeline.entries]


def events(pipeline: Pipeline) -> list[tuple[str, int | None]]:
    return [(r.tags["code"], r.fields.get("active")) for r in told(pipeline) if r.kind == "event"]  # type: ignore[misc]


def feed(loaded: LoadedSite, seconds: range, lock: Lock) -> Pipeline:
    pipeline = Pipeline(loaded)
    for row in rows_of(loaded, lock, seconds):
        pipeline.take("lock", row)
    return pipeline


def test_a_morning_at_a_lock_gives_lockages_trends_and_no_incoherence(tmp_path: Path) -> None:
    loaded, lock = load(tmp_path, PLAIN), Lock(PRESETS["fall-4.9"], 7)
    pipeline = feed(loaded, range(1, 4000), lock)
    assert events(pipeline) == []
    rows = told(pipeline)
    cycles = [r.fields for r in rows if r.kind == "lock_cycle"]
    assert len(cycles) == lock.completed or len(cycles) == lock.completed + 1
    true = lock.lockages[0]
    first = cycles[0]
    assert first["volume_m3"] == pytest.approx(true.volume_m3, rel=0.01)
    assert first["coefficient"] == pytest.approx(0.7, rel=0.03)
    assert first["gate_open_s"] == pytest.approx(65.0, abs=1.5)
    assert first["gate_close_s"] == pytest.approx(65.0, abs=1.5)
    assert first["lacking"] == ""
    assert {c["false_lockage"] for c in cycles} <= {0, 1}
    trends = [r for r in rows if r.kind == "lock_trend"]
    assert {r.tags["code"] for r in trends} >= {"discharge_coefficient", "gate_open_s", "gate_close_s"}
    types = catalogue(loaded).field_types()
    assert [wire.problem_with(r, types) for r in rows if wire.problem_with(r, types)] == []


def test_a_lockage_between_the_upper_head_and_a_middle_gate_takes_less_water(tmp_path: Path) -> None:
    loaded = load(tmp_path, WITH_MIDDLE_GATE, str(PROFILE))
    lock = Lock(replace(PRESETS["fall-4.9"], short_m=92.0), 24)
    pipeline = feed(loaded, range(1, 3720), lock)
    assert events(pipeline) == []
    cycles = [r.fields for r in told(pipeline) if r.kind == "lock_cycle"]
    true = [x.volume_m3 for x in lock.lockages if "exit" in x.phases][: len(cycles)]
    assert len({round(v) for v in true}) == 2, "short and long lockages"
    assert [c["volume_m3"] for c in cycles] == pytest.approx(true, rel=0.01)
    assert all(c["coefficient"] == pytest.approx(0.7, rel=0.05) for c in cycles if "coefficient" in c)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("lock-opposite-sluice-open", "lock_sluice_opposite_open"),
        ("lock-green-light-gate-closed", "lock_green_gate_not_open"),
        ("lock-opposite-gates-open", "lock_gates_opposite_open"),
    ],
)
def test_an_incoherence_begins_and_ends_as_an_event_within_one_scan(tmp_path: Path, fault: str, code: str) -> None:
    loaded, lock = load(tmp_path, PLAIN), Lock(PRESETS["fall-4.9"], 7)
    lock.device = "lock"
    lock.board.plan(fault, "lock", 20 * NS, 60 * NS, {})
    pipeline = feed(loaded, range(1, 200), lock)
    found = [r for r in told(pipeline) if r.kind == "event" and r.tags["code"] == code]
    begin, end = found[0], found[-1]
    assert [begin.fields["active"], end.fields["active"]] == [1, 0]
    assert 20 <= (begin.t_ns - START_NS) / NS <= 23  # a sluice counts as open from 2 % on, after 2.4 s
    assert end.fields["lasted_s"] >= 30.0
    assert begin.tags["point"] in wire.NAME.findall(begin.tags["point"])


def test_in_maintenance_an_incoherence_shows_and_says_that_it_is_inhibited(tmp_path: Path) -> None:
    loaded, lock = load(tmp_path, PLAIN), Lock(PRESETS["fall-4.9"], 7)
    pipeline = Pipeline(loaded)
    index = loaded.profiles["lock"].index
    for row in rows_of(loaded, lock, range(1, 80)):
        second = (row.t_ns - START_NS) // NS
        if 20 <= second < 60:
            row.values[index["mode"]] = 2.0
        if 30 <= second < 50:
            row.values[index["gate_down_state"]] = 1.0
        pipeline.take("lock", row)
    found = [(r.tags["code"], r.fields) for r in told(pipeline) if r.kind == "event"]
    assert next(code for code, f in found if f["active"] == 1) == "lock_maintenance"
    opposite = [f for code, f in found if code == "lock_gates_opposite_open"]
    assert [(f["active"], f["inhibited"]) for f in opposite] == [(1, 1), (0, 1)]
    assert ("lock_maintenance", 0) in [(code, f["active"]) for code, f in found]


def test_a_flickering_signal_is_one_incoherence(tmp_path: Path) -> None:
    loaded, lock = load(tmp_path, PLAIN), Lock(PRESETS["fall-4.9"], 7)
    pipeline, index = Pipeline(loaded), loaded.profiles["lock"].index
    for row in rows_of(loaded, lock, range(1, 80)):
        second = (row.t_ns - START_NS) // NS
        if 20 <= second < 50 and second % 2:
            row.values[index["sluice_down_position"]] = 0.1
        pipeline.take("lock", row)
    found = [r.fields for r in told(pipeline) if r.kind == "event"]
    assert [f["active"] for f in found] == [1, 0]
    assert found[1]["times"] == 15


def test_rules_without_signals_are_listed_once(tmp_path: Path) -> None:
    loaded, lock = load(tmp_path, "chamber_area_m2 = 1735.2"), Lock(PRESETS["fall-4.9"], 7)
    pipeline = feed(loaded, range(1, 10), lock)
    (event,) = [r for r in told(pipeline) if r.kind == "event"]
    assert event.tags["code"] == "lock_rules_not_evaluated"
    assert event.fields["text"] == "level_still_sluice_open: no size of a sluice declared"
    again = Pipeline(loaded)
    again.resume(pipeline.checkpoint(), [])
    again.take("lock", next(rows_of(loaded, lock, range(11, 12))))
    assert events(again) == []


def test_two_scans_must_agree_where_signals_come_with_two_requests(tmp_path: Path) -> None:
    text = PROFILE.with_name("lock-mid-gate.toml").read_text()
    split = text.replace('table    = "holding"', 'table    = "holding"\nmax_gap  = 0\nmax_registers = 12', 1)
    path = tmp_path / "split.toml"
    path.write_text(split)
    loaded = load(tmp_path, PLAIN, str(path))
    lock = loaded.site.device[0].lock
    assert lock is not None
    record = shape_of(lock, loaded.profiles["lock"], 1.0).record
    whole = shape_of(lock, load(tmp_path, PLAIN).profiles["lock"], 1.0).record
    assert int(whole["apart"][0]) == 0
    assert int(record["apart"][0]) != 0


@pytest.mark.parametrize("killed_at", [1, 700, 1111])
def test_a_kill_at_any_instant_changes_nothing(tmp_path: Path, killed_at: int) -> None:
    loaded = load(tmp_path, PLAIN)

    def rows() -> list[Row]:
        lock = Lock(PRESETS["fall-4.9"], 7)
        lock.device = "lock"
        lock.board.plan("lock-sluice-open-while-gate-closes", "lock", 100 * NS, 900 * NS, {})
        return list(rows_of(loaded, lock, range(1, 1300)))

    whole, first = Pipeline(loaded), Pipeline(loaded)
    for row in rows():
        whole.take("lock", row)
    for row in rows()[:killed_at]:
        first.take("lock", row)
    second = Pipeline(loaded)
    second.resume(first.checkpoint(), [])
    for row in rows()[killed_at:]:
        second.take("lock", row)
    assert [e.line for e in first.entries + second.entries] == [e.line for e in whole.entries]
    assert second.checkpoint() == whole.checkpoint()


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        ("datum = 'x'", "chamber_area_m2 = None: a lock needs its chamber's area"),
        (
            PLAIN + "\nrules_off = ['nonsense']",
            "lock.rules_off = 'nonsense': is no rule; use sluice_opposite_open",
        ),
        (
            WITH_MIDDLE_GATE.replace('gates = ["mid"]', 'gates = ["middle"]'),
            "the profile has no gate_middle_state",
        ),
        (
            WITH_MIDDLE_GATE.replace("sluice_m2 = [5.0]", "sluice_m2 = [5.0, 1.0]", 1),
            "give one size for each of 1",
        ),
        (PLAIN + "\n[[device.lock.chamber]]\narea_m2 = 1.0\nlevel = 'level_x'", "is no point of the profile"),
        (PLAIN + "\n[[device.lock.head]]\nname = 'up'\ngates = ['up']", "1 heads need 0 of them"),
    ],
)
def test_a_lock_that_does_not_fit_is_refused_with_the_remedy(tmp_path: Path, lock: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, lock, str(PROFILE))
    assert message in str(caught.value)


def test_a_catalogue_says_what_is_evaluated(tmp_path: Path) -> None:
    loaded = load(tmp_path, "chamber_area_m2 = 1735.2")
    (device,) = catalogue(loaded).devices
    rules: dict[str, Any] = device["rules"]
    assert rules["not_evaluated"] == {"level_still_sluice_open": "no size of a sluice declared"}
    assert "gates_opposite_open" in rules["evaluated"]


def test_a_state_belongs_to_the_signals_that_made_it(tmp_path: Path) -> None:
    """Two gates that change places in the site file leave as many bytes, of the other's drive times."""

    def lock_of(text: str) -> Any:
        return Pipeline(load(tmp_path, text, str(PROFILE)))._compute._units["lock lock"]._unit

    first, same = lock_of(WITH_MIDDLE_GATE), lock_of(WITH_MIDDLE_GATE)
    first._maintenance[0] = 7
    other = lock_of(WITH_MIDDLE_GATE.replace('gates = ["mid"]', 'gates = ["x"]').replace(
        'gates = ["down"]', 'gates = ["mid"]').replace('gates = ["x"]', 'gates = ["down"]'))  # fmt: skip
    assert len(other.state()) == len(first.state())
    for lock, kept in ((same, 7), (other, 0)):
        lock.restore(first.state())
        assert lock._maintenance[0] == kept
