"""A scenario is right as a whole, or every problem is named at once."""

from pathlib import Path

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
    assert "device[0].profile: profile 'generic-crane' is not known; use generic-bms" in found
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
    with pytest.raises(ScenarioError, match="scenario 'moon' is not known; use canal-lock, channel-berth, demo-port"):
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
