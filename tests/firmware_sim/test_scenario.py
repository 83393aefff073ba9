"""A scenario is right as a whole, or every problem is named at once."""

from pathlib import Path
from typing import Any

import pytest

from firmware_sim.bench import Bench
from firmware_sim.scenario import ScenarioError, load_scenario, shipped_scenarios

GOOD = """
schema = 1
name = "two"
[[berth]]
name = "berth-1"
vessel = "AURELIE"
recording = { file = "ferry-call.csv.gz" }
[[lock]]
name = "lock-1"
[[device]]
name = "c"
profile = "generic-charger"
plant = "berth-1"
[[device]]
name = "l"
profile = "generic-lock"
plant = "lock-1"
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as error:
        load_scenario(str(path))
    lines = str(error.value).splitlines()
    assert all("bad.toml" in line for line in lines)
    return lines


@pytest.mark.parametrize("name", shipped_scenarios())
def test_every_shipped_scenario_runs(name: str) -> None:
    bench = Bench(load_scenario(name))
    for device, values in bench.state(0).items():
        known = {p.name for p in bench.devices[device].profile.points}
        assert known <= values.keys(), f"{device} has points that its plant does not fill"


def test_a_small_scenario_of_ones_own_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(GOOD)
    assert set(Bench(load_scenario(str(path))).devices) == {"c", "l"}


def test_every_wrong_key_is_named_with_its_remedy(tmp_path: Path) -> None:
    text = GOOD.replace('vessel = "AURELIE"', 'vessel = "AURÉLIE"\npack = { energy_wh = -5, serie = 3 }')
    text = text.replace('name = "lock-1"', 'name = "lock-1"\nwidth_m = "wide"')
    lines = problems(tmp_path, text)
    assert len(lines) == 4
    assert any("berth[0].vessel = 'AURÉLIE'" in line and "ASCII" in line for line in lines)
    assert any(
        "berth[0].pack.energy_wh = -5" in line and "give energy of the pack in Wh" in line for line in lines
    )
    assert any("berth[0].pack.serie = 3" in line and "series" in line.partition("serie = 3")[2] for line in lines)
    assert any("lock[0].width_m = 'wide'" in line for line in lines)


def test_everything_that_does_not_fit_together_is_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('plant = "lock-1"', 'plant = "lock-9"').replace("generic-charger", "generic-crane")
    text = text.replace('name = "l"', 'name = "c"').replace("ferry-call", "no-call")
    text = text.replace('name = "lock-1"', 'name = "lock-1"\nupstream_m = 3.0\ndownstream_m = 4.0')
    found = "\n".join(problems(tmp_path, text))
    assert "device[0].profile: profile 'generic-crane' is not known; use abb-b21" in found
    assert "device[1].name = 'c': taken by device[0]; give each its own name" in found
    assert "berth[0].recording: " in found and "no-call.csv.gz: cannot be read" in found
    assert "lock[0].upstream_m = 3: is not 0.1 m or more above downstream_m = 4" in found


def test_a_device_needs_a_plant_of_its_kind(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD.replace('plant = "lock-1"', 'plant = "berth-1"'))
    assert "device[1].plant = 'berth-1': a lock needs a lock; use lock-1" in line


def test_not_toml_and_not_there_are_said_in_one_line(tmp_path: Path) -> None:
    assert "not TOML" in problems(tmp_path, "schema = = 1")[0]
    with pytest.raises(ScenarioError, match=r"nowhere.toml: cannot be read: No such file"):
        load_scenario(str(tmp_path / "nowhere.toml"))
    with pytest.raises(
        ScenarioError, match="scenario 'moon' is not known; use canal-lock, channel-berth, demo-port"
    ):
        load_scenario("moon")


def test_the_command_line_replaces_the_recording_and_the_pack(tmp_path: Path) -> None:
    cell = tmp_path / "cell.csv"
    cell.write_text("t,u,current_a\n" + "".join(f"{i},3.7,-1\n" for i in range(200)))
    recording = {"file": str(cell), "columns": {"time": "t", "voltage": "u"}, "start_s": 20, "span_s": 100}
    loaded = load_scenario("demo-port", recording=recording, pack={"series": 10, "parallel": 3})
    said = Bench(loaded).describe()["berth-1"]
    assert (said["start_s"], said["span_s"], said["calls"], said["truth"]) == (20, 100, 0, False)
    assert (said["pack"]["series"], said["pack"]["parallel"]) == (10, 3)


def test_a_start_beyond_the_end_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="start = 9000 s, the recording has 4500 s; give 0 to 4499"):
        load_scenario("demo-port", recording={"start_s": 9000})


def test_a_recording_that_no_berth_would_replay_is_not_passed_over() -> None:
    with pytest.raises(ScenarioError, match=r"^--recording, --series: no berth of port-day replays a recording"):
        load_scenario("port-day", recording={"file": "/none.csv"}, pack={"series": 10})


PORT = """
schema = 1
name = "port"
start = 2027-01-01T00:00:00Z
[[point]]
name = "point-1"
[[ship]]
name = "AURELIE"
[[berth]]
name = "berth-1"
point = "point-1"
call = [{ ship = "AURELIE", arrive = "01:00", depart = "01:45" }]
[[device]]
name = "c"
profile = "generic-charger"
plant = "berth-1"
"""


def test_every_kind_of_problem_is_told_in_one_message_with_file_key_value_and_remedy(tmp_path: Path) -> None:
    """A device that is not known, ports that overlap, a negative ramp, a recording that is no good."""
    (tmp_path / "cell.csv").write_text("time_s,voltage_v\n0,3.7\n1,3.7\n")
    (tmp_path / "back.csv").write_text("time_s,voltage_v,current_a\n0,3.7,1\n5,3.7,1\n3,3.7,1\n")
    text = PORT.replace('point = "point-1"', 'point = "point-1"\ntower = { up_s = -5 }')
    text += """
[[berth]]
name = "berth-2"
vessel = "B"
recording = { file = "cell.csv" }
[[berth]]
name = "berth-3"
vessel = "C"
recording = { file = "back.csv" }
[[device]]
name = "d"
profile = "generic-crane"
plant = "berth-1"
port = 5020
[[device]]
name = "e"
profile = "generic-meter"
plant = "berth-9"
port = 5020
[[event]]
kind = "mode"
plant = "berth-1"
at_s = 5
[[fault]]
name = "silense"
device = "c"
"""
    lines = problems(tmp_path, text)
    for where, value, remedy in (
        ("berth[0].tower.up_s", "-5", "above 0"),
        ("berth[1].recording", "no column current_a", "--columns current=NAME"),
        ("berth[2].recording", "goes back from 5 to 3", "sort the file by time"),
        ("device[1].profile", "generic-crane", "use abb-b21, "),
        ("device[2].plant", "berth-9", "use berth-1"),
        ("device[2].port", "5020", "give each its own port"),
        ("event[0].plant", "berth-1", "is for a lock"),
        ("fault[0]", "silense", "one of"),
    ):
        assert any(where in line and value in line and remedy in line for line in lines), (where, lines)
    assert len(lines) == 8


def test_a_key_that_is_missing_hides_no_other_problem(tmp_path: Path) -> None:
    """A device without its plant, a ship without its name; a port taken twice, a stay that is too short."""
    text = PORT.replace('name = "AURELIE"\n', "").replace('depart = "01:45"', 'depart = "01:05"')
    text = text.replace('plant = "berth-1"', "port = 5020")
    text += '[[device]]\nname = "m"\nprofile = "generic-meter"\nplant = "berth-1"\nport = 5020\n'
    lines = problems(tmp_path, text)
    for where, what in (
        ("ship[0].name", "Field required"),
        ("device[0].plant", "Field required"),
        ("berth[0].call[0].depart", "give 10 min"),
        ("device[1].port", "taken by device[0]"),
    ):
        assert any(where in line and what in line for line in lines), (where, lines)
    assert len([line for line in lines if "berth[0].call[0].ship" not in line]) == 4, lines
    assert "missing-key" not in "".join(lines)


@pytest.mark.parametrize(
    ("recording", "pack", "named"),
    [
        ({"file": "BAD"}, {}, "--recording: BAD: no column current_a"),
        ({"file": "BAD", "columns": {"current": "I"}}, {}, "--recording, --columns: BAD: no column I for current"),
        ({"start_s": 9000}, {}, "--start: "),
        ({"capacity_ah": -1.0}, {}, "--capacity-ah = -1.0: "),
        ({}, {"series": 0}, "--series = 0: "),
    ],
)
def test_what_was_typed_is_named_by_its_option_and_once(
    tmp_path: Path, recording: dict[str, Any], pack: dict[str, Any], named: str
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("time_s,voltage_v\n0,3.7\n1,3.7\n2,3.7\n")
    recording = {key: str(bad) if value == "BAD" else value for key, value in recording.items()}
    with pytest.raises(ScenarioError) as told:
        load_scenario("demo-port", recording=recording, pack=pack)
    assert str(told.value).startswith(named.replace("BAD", str(bad)))
    assert "demo-port.toml" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("old", "new", "where", "remedy"),
    [
        ('depart = "01:45"', 'depart = "01:05"', "berth[0].call[0].depart", "give 10 min"),
        ('ship = "AURELIE"', 'ship = "NOBODY"', "berth[0].call[0].ship", "use AURELIE"),
        ('arrive = "01:00"', 'arrive = "25:00"', "berth[0].call[0].arrive", "time of day"),
        ('point = "point-1"', "late_s = 0", "berth[0].recording", "[[berth.call]]"),
        (
            'depart = "01:45" }]',
            'depart = "01:45" }, { ship = "AURELIE", arrive = "01:47", depart = "02:30" }]',
            "berth[0].call[1].arrive",
            "leave 5 min",
        ),
    ],
)
def test_a_timetable_that_cannot_be_kept_is_refused(
    tmp_path: Path, old: str, new: str, where: str, remedy: str
) -> None:
    found = problems(tmp_path, PORT.replace(old, new))
    assert any(where in line and remedy in line for line in found), found


def test_a_ship_is_not_at_two_berths(tmp_path: Path) -> None:
    second = PORT[PORT.index("[[berth]]") : PORT.index("[[device]]")].replace("berth-1", "berth-2")
    found = problems(tmp_path, PORT.replace("[[device]]", second + "[[device]]", 1))
    assert len(found) == 1 and "AURELIE is still at berth[0].call[0]" in found[0]


def test_two_chambers_side_by_side_are_two_locks_and_a_device_names_its_own(tmp_path: Path) -> None:
    path = tmp_path / "double.toml"
    lock = '[[lock]]\nname = "lock-1"\npreset = "fall-4.9"\nchambers = 2\n'
    device = '[[device]]\nname = "{}"\nprofile = "generic-lock"\nplant = "lock-1"\nchamber = {}\n'
    path.write_text('schema = 1\nname = "double"\n' + lock + device.format("a", 1) + device.format("b", 2))
    bench = Bench(load_scenario(str(path)))
    state = bench.state(3 * 3600 * 10**9)
    assert state["a"]["level_chamber_m"] != state["b"]["level_chamber_m"]
    assert set(bench.truth(0, 0)["locks"]) == {"lock-1", "lock-1-2"}
    assert problems(tmp_path, path.read_text().replace("chambers = 2", "chambers = 1"))[0].endswith("give 1")
