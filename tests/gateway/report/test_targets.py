"""Targets and trajectories."""

from fractions import Fraction

import pytest

from gateway.report.errors import WrongInput
from gateway.report.figure import Figure, by_key
from gateway.report.period import Period
from gateway.report.targets import COLUMNS, deviations, parse_targets, target_figures

HEAD = ",".join(COLUMNS)
OCTOBER = Period.parse("2026-10", "Europe/Paris")
YEAR = Period.parse("2026", "Europe/Paris")
CO2 = Figure("co2.grid_site_kg", Fraction(50_000), "kgCO2e", "life_cycle", "x")
OPEN = Figure("lock.availability/lock=lock-1", Fraction(97, 100), "1", "lock", "x")
FIGURES = by_key((CO2, OPEN, Figure("energy.import_wh", None, "Wh", "site", "x")))


def parsed(*lines: str) -> tuple:  # type: ignore[type-arg]
    return parse_targets("\n".join([HEAD, *lines]))


def test_a_target_of_the_year_is_taken_by_the_part_of_its_time() -> None:
    (found,) = deviations(parsed("co2.grid_site_kg,calais,2026,1.2,t,plan"), ["calais"], OCTOBER, FIGURES)
    part = Fraction(745, 365 * 24)
    assert (found.target, found.part, found.how) == (1200 * part, part, "exact")
    assert found.difference == 50_000 - 1200 * part
    assert found.relative == 50_000 / (1200 * part) - 1
    (whole,) = deviations(parsed("co2.grid_site_kg,calais,2026,1.2,t,plan"), ["calais"], YEAR, FIGURES)
    assert whole.target == 1200


def test_a_share_is_compared_as_it_is() -> None:
    line = "lock.availability/lock=lock-1,axe-nord,2026,98,%,contrat"
    (found,) = deviations(parsed(line), ["axe-nord"], OCTOBER, FIGURES)
    assert (found.target, found.difference, found.part) == (Fraction(98, 100), Fraction(-1, 100), 1)


def test_between_two_years_a_trajectory_is_a_straight_line() -> None:
    lines = parsed("co2.grid_site_kg,calais,2030,600,kg,b", "co2.grid_site_kg,calais,2024,1200,kg,a")
    (found,) = deviations(lines, ["calais"], YEAR, FIGURES)
    assert (found.target, found.how, found.source, found.line) == (1000, "interpolated", "a; b", 2)
    assert deviations(lines, ["calais"], Period.parse("2031", "Europe/Paris"), FIGURES) == ()
    assert deviations(lines, ["dunkerque"], YEAR, FIGURES) == ()


def test_a_figure_that_was_not_measured_has_no_deviation() -> None:
    for key in ("energy.import_wh", "energy.nothing_wh"):
        (found,) = deviations(parsed(f"{key},calais,2026,5,MWh,plan"), ["calais"], YEAR, FIGURES)
        assert (found.value, found.difference, found.relative, found.target) == (None, None, None, 5 * 10**6)


def test_a_sum_over_a_part_of_its_time_has_no_deviation() -> None:
    half = by_key((Figure("energy.import_wh", 5, "Wh", "site", "x", coverage=Fraction(1, 2)),))
    (found,) = deviations(parsed("energy.import_wh,calais,2026,5,MWh,plan"), ["calais"], YEAR, half)
    assert (found.value, found.thin, found.difference, found.relative) == (5, True, None, None)


def test_deviations_are_figures_that_name_what_they_speak_of() -> None:
    found = deviations(parsed("co2.grid_site_kg,calais,2026,40,t,plan"), ["calais"], YEAR, FIGURES)
    figures = by_key(tuple(target_figures(found)))
    assert figures["target.deviation/line=2"].value == 10_000
    assert figures["target.deviation/line=2"].inputs == ("co2.grid_site_kg",)
    assert figures["target.relative/line=2"].value == Fraction(1, 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,b,2026,x,kg,s", "line 2: value 'x' is not a number; give it as in 1200.5"),
        ("a,b,26,1,kg,s", "line 2: year '26' is not a year; give it as in 2030"),
        ("a,b,2026,1,lb,s", "line 2: unit 'lb' is not one of Wh, kWh"),
        ("a,b,2026,1,kg,", "line 2: source is empty"),
        ("a,b,2026,1", "line 2: has 4 cells, not 6"),
        ("a,b,2026,1,kg,s\na,b,2026,2,kg,s", "line 3: says the same year as line 2"),
    ],
)
def test_a_wrong_line_is_told_with_its_number(line: str, message: str) -> None:
    with pytest.raises(WrongInput, match=message):
        parsed(line)


def test_another_head_is_refused() -> None:
    with pytest.raises(WrongInput, match=r"line 1 is 'a,b'; give figure,perimeter,year,value,unit,source"):
        parse_targets("a,b\n")


def test_a_target_in_another_kind_of_unit_is_refused() -> None:
    with pytest.raises(WrongInput, match=r"line 2: co2.grid_site_kg is in kgCO2e, the target in Wh"):
        deviations(parsed("co2.grid_site_kg,calais,2026,1,kWh,s"), ["calais"], YEAR, FIGURES)
