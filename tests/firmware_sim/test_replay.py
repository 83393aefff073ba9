"""Recordings: what is read, what is refused and how that is said, and what counts as a call."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firmware_sim.plant.replay import (
    Charge,
    Recording,
    RecordingError,
    capacity_ah,
    charges_within,
    find_charges,
    load,
)

Write = Callable[..., Path]
GOOD = "time_s,current_a,voltage_v,temp_c,soc_ref\n0,-1,3.7,20,0.5\n1,-2,3.6,21,0.49\n2,-3,3.5,22,0.48\n"


def recording(current_a: list[float]) -> Recording:
    n = len(current_a)
    flat = np.full(n, 3.7)
    return Recording("test", flat, np.array(current_a), np.full(n, 25.0), np.full(n, np.nan), {})


def test_a_csv_is_read_plain_and_zipped(write_csv: Write, tmp_path: Path) -> None:
    zipped = tmp_path / "cell.csv.gz"
    zipped.write_bytes(gzip.compress(GOOD.encode()))
    for path in (write_csv(GOOD), zipped):
        found = load(path)
        assert found.current_a.tolist() == [-1, -2, -3]
        assert found.voltage_v.tolist() == [3.7, 3.6, 3.5]
        assert found.temp_c.tolist() == [20, 21, 22]
        assert found.soc.tolist() == [0.5, 0.49, 0.48]
        assert found.seconds == 2


def test_the_closed_reference_is_preferred_as_truth(write_csv: Write) -> None:
    text = "time_s,current_a,voltage_v,soc_ref,soc_ref_closed\n0,1,3.7,0.5,0.6\n2,1,3.7,0.5,0.6\n"
    found = load(write_csv(text))
    assert found.soc.tolist() == [0.6, 0.6, 0.6]
    assert found.columns["truth"] == "soc_ref_closed"
    assert found.temp_c.tolist() == [25, 25, 25]


def test_columns_can_be_mapped(write_csv: Write) -> None:
    found = load(write_csv("t;x,U,I\n100,3.7,1\n101,3.8,2\n"), {"time": "t;x", "voltage": "U", "current": "I"})
    assert found.voltage_v.tolist() == [3.7, 3.8]
    assert not found.has_truth


def test_native_stamps_are_read_as_straight_lines_and_a_repeated_one_counts_last(write_csv: Write) -> None:
    text = "time_s,current_a,voltage_v\n0.5,0,3.0\n1.5,2,3.2\n1.5,10,3.4\n4.5,16,4.0\n"
    found = load(write_csv(text))
    assert found.current_a.tolist() == pytest.approx([0, 10, 12, 14, 16])
    assert found.voltage_v.tolist() == pytest.approx([3.0, 3.4, 3.6, 3.8, 4.0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "time_s,amps,voltage_v\n0,1,3\n1,1,3\n",
            "no column current_a for current; the file has time_s, amps",
        ),
        (GOOD.replace("2,-3", "0.5,-3"), "line 4: time_s goes back from 1 to 0.5; sort the file"),
        (
            GOOD.replace("3.7", "3700").replace("3.6", "3600"),
            "voltage_v is 3600 in the middle.*divide by 1000",
        ),
        (GOOD.replace("3.7", "760").replace("3.6", "755"), "voltage_v is 755 in the middle.*divide by 1000"),
        (GOOD.replace("3.7", "48").replace("3.6", "48"), "give one cell, in volts"),
        (GOOD.replace("-2", "abc"), "line 3, column current_a: 'abc' is not a number"),
        (GOOD.replace("0.49", "49").replace("0.5", "50"), "soc_ref is 49 in the middle; SoC is a fraction"),
        (GOOD.replace("1,-2", ",-2"), "line 3, column time_s: no time"),
        ("time_s,current_a,voltage_v\n0,1,3\n0,1,3\n", "time_s spans 0 s; give 1 s to 400 days"),
        ("time_s,current_a,voltage_v\n0,,3\n5,,3\n", "column current_a holds no number"),
        ("time_s\n", "1 lines; a recording has a line of names"),
    ],
)
def test_what_is_wrong_is_said_with_place_value_and_remedy(write_csv: Write, text: str, says: str) -> None:
    with pytest.raises(RecordingError, match=says) as error:
        load(write_csv(text))
    assert "cell.csv" in str(error.value)


def test_all_missing_columns_come_in_one_message(write_csv: Write) -> None:
    with pytest.raises(RecordingError) as error:
        load(write_csv("a,b\n1,2\n2,3\n"), {"truth": "soc", "colour": "a"})
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    assert all(word in str(error.value) for word in ("time_s", "voltage_v", "current_a", "soc", "colour"))


def test_a_file_that_is_not_there_or_is_cut_off(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere.csv: cannot be read: No such file"):
        load(tmp_path / "nowhere.csv")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(GOOD.encode())[:40])
    with pytest.raises(RecordingError, match=r"not a whole CSV or CSV.gz text file"):
        load(cut)


def test_a_cut_keeps_its_place(write_csv: Write) -> None:
    part = load(write_csv(GOOD)).cut(1, 1)
    assert (part.offset_s, part.seconds, part.current_a.tolist()) == (1, 1, [-2, -3])
    with pytest.raises(RecordingError, match="start = 2 s, the recording has 2 s; give 0 to 1"):
        load(write_csv(GOOD)).cut(2, None)


def test_a_long_charge_is_a_call_and_braking_is_none() -> None:
    braking = [-5.0, -5.0, 4.0, 4.0] * 300
    charge = [-5.0] * 60 + [0.0] * 30 + [3.0] * 400 + [0.0] * 20 + [3.0] * 100 + [0.0] * 50 + [-5.0] * 60
    assert find_charges(recording(braking)) == []
    assert find_charges(recording(charge)) == [Charge(90, 609)]


def test_a_long_rest_parts_two_calls_and_a_discharge_always_does() -> None:
    rest = [3.0] * 400 + [0.0] * 400 + [3.0] * 400
    crossing = [3.0] * 400 + [-3.0] + [3.0] * 400
    assert find_charges(recording(rest)) == [Charge(0, 399), Charge(800, 1199)]
    assert find_charges(recording(crossing)) == [Charge(0, 399), Charge(401, 800)]
    assert find_charges(recording([3.0] * 200 + [-3.0] * 9)) == []


def test_a_cut_moves_calls_and_drops_what_is_hardly_left() -> None:
    whole = recording([0.0] * 100 + [3.0] * 400 + [-3.0] * 100)
    found = find_charges(whole)
    assert charges_within(found, whole.cut(50, None)) == [Charge(50, 449)]
    assert charges_within(found, whole.cut(300, None)) == [Charge(0, 199)]
    assert charges_within(found, whole.cut(470, None)) == []


def test_capacity_comes_from_the_truth_if_it_moves_enough() -> None:
    plain = recording([-3600.0] * 11)
    assert capacity_ah(plain) == (10.0, "largest swing of the counted charge: a lower bound")
    object.__setattr__(plain, "soc", np.linspace(0.9, 0.4, 11))
    assert capacity_ah(plain)[0] == pytest.approx(20.0)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "calls", "capacity"),
    [
        ("lg_hg2/drive_25degC_UDDS", 0, 2.871),
        ("lg_hg2/drive_0degC_US06", 0, 2.775),
        ("a123/dyn_25degC", 0, 2.0495),
        ("a123/charge_25degC_after_25degC", 1, 2.0495),
        ("lfp_plateau/plateau_25degC", 0, 1.2),
        ("sim_ferry/ferry_nmc_20degC", 18, 4.7925),
        ("sim_ferry/ferry_lfp_25degC", 18, 2.3035),
    ],
)
def test_calls_and_capacity_of_the_recorded_cells(shared: Path, file: str, calls: int, capacity: float) -> None:
    found = load(shared / "data" / "battery" / f"{file}.csv.gz")
    assert len(find_charges(found)) == calls
    assert capacity_ah(found)[0] == pytest.approx(capacity, rel=0.03)  # A123 counts 2 % efficiency too


@pytest.mark.shared
def test_a_measured_charge_without_truth_is_one_call(shared: Path) -> None:
    found = load(shared / "data" / "battery" / "lg_hg2" / "charge_25degC_after_UDDS.csv.gz")
    assert not found.has_truth
    assert len(find_charges(found)) == 1


def test_a_line_with_a_field_too_few_is_not_read_as_another_column(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    lines = GOOD.splitlines()
    path.write_text("\n".join([*lines[:3], lines[3].rpartition(",")[0], *lines[4:]]) + "\n")
    with pytest.raises(RecordingError, match=r"line 4 has \d+ fields, the header \d+"):
        load(path)


def test_a_file_with_semicolons_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "french.csv"
    path.write_text(GOOD.replace(",", ";"))
    with pytest.raises(RecordingError, match="is separated by ';'; save it with commas"):
        load(path)
