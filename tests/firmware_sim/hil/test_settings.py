"""What a run refuses before anything is opened, and that it says everything at once."""

import pytest

from firmware_sim.hil.settings import Asked, SettingsError, Target, parse_fault, parse_target, settings_of


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("sim", Target("sim", simulated=True)),
        ("modbus://10.20.0.7", Target("modbus://10.20.0.7", host="10.20.0.7", port=502)),
        ("modbus://plc:1502/17", Target("modbus://plc:1502/17", host="plc", port=1502, unit_id=17)),
        ("modbus://[::1]:502/1", Target("modbus://[::1]:502/1", host="::1", port=502)),
        (
            "opc.tcp://10.20.0.9:4840/bms",
            Target("opc.tcp://10.20.0.9:4840/bms", url="opc.tcp://10.20.0.9:4840/bms"),
        ),
    ],
)
def test_a_target_is_read(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text", ["", "simulator", "modbus://", "modbus://h:99999/1", "modbus://h/900", "http://h"]
)
def test_another_target_is_refused_with_the_forms_it_may_have(text: str) -> None:
    with pytest.raises(ValueError, match=r"modbus://HOST:502/1|1 to 65535"):
        parse_target(text)


def test_a_fault_with_options_is_read() -> None:
    assert parse_fault("exception:code=2,rate=0.5") == ("exception", {"code": "2", "rate": "0.5"})


@pytest.mark.parametrize("text", ["", ":x=1", "exception:code", "exception:=2"])
def test_a_fault_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write NAME or NAME:key=value"):
        parse_fault(text)


def test_all_problems_are_told_at_once() -> None:
    asked = Asked(
        "crane", "ftp://x", limits=["head=1", "head_m=9", "leak_m_per_min=?"], faults=["x:y"], buttons=["a"]
    )
    with pytest.raises(SettingsError) as told:
        settings_of(asked)
    lines = str(told.value).splitlines()
    for start in (
        "--target ftp://x",
        "--limit head=1",
        "--limit head_m=9",
        "--limit leak",
        "--fault x:y",
        "--kind crane",
    ):
        assert any(line.startswith(start) for line in lines), f"{start} is not in {lines}"


def test_an_option_that_was_not_given_is_not_blamed() -> None:
    with pytest.raises(SettingsError) as told:
        settings_of(Asked("metre", "sim"))
    assert str(told.value) == "--kind metre: is not one of charger, meter, battery, lock"
    with pytest.raises(SettingsError, match=r"^--kind meter: scenario canal-lock has: no meter$"):
        settings_of(Asked("meter", "sim", scenario="canal-lock"))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Asked("lock", "modbus://h:502/1"), "needs --profile"),
        (Asked("lock", "modbus://h:502/1", profile="generic-meter"), "is a meter, --kind says lock"),
        (Asked("battery", "modbus://h:502/1", profile="generic-bms"), "speaks opcua"),
        (Asked("lock", "modbus://h:502/1", profile="nothing"), "is not known; use abb-b21"),
        (
            Asked("lock", "modbus://h:502/1", profile="generic-lock", faults=["silence"]),
            "faults are for the simulator",
        ),
        (Asked("lock", "sim", profile="generic-lock"), "leave it out"),
        (Asked("lock", "sim", device="meter-1"), "has: lock-1"),
        (Asked("lock", "sim", scenario="nowhere"), "scenario 'nowhere' is not known"),
        (Asked("lock", "sim", watch_s=0.1), "--watch 0.1"),
        (Asked("lock", "sim", panel=True, buttons=["a", "a"]), "stands twice"),
    ],
)
def test_what_does_not_fit_together_is_refused(asked: Asked, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        settings_of(asked)


def test_limits_given_replace_the_defaults_and_are_marked() -> None:
    limits = settings_of(Asked("lock", "sim", limits=["head_m=0.2"])).limits
    assert limits.head_m == 0.2
    assert [name for name, _, _, changed in limits.shown() if changed] == ["head_m"]
