"""Steps at the panel: only idle, only without a vessel, only by a person who confirms each button by its name."""

import json
import os
import pty
import select
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Process

from firmware_sim.hil.panel import Dialogue, introduce, why_not_idle
from firmware_sim.hil.settings import Asked, Settings, SettingsError, settings_of
from firmware_sim.hil.texts import Texts
from firmware_sim.hil.trace import Trace


def settings(*buttons: str, kind: str = "lock", profile: str = "generic-lock") -> Settings:
    return settings_of(Asked(kind, "modbus://10.20.0.7:502/1", profile, panel=True, buttons=buttons))


def dialogue(*answers: str) -> Dialogue:
    left = list(answers)
    return Dialogue(lambda text: None, lambda question: left.pop(0))


def test_name_and_permit_are_kept_for_the_sheet() -> None:
    people = introduce(settings("quay"), Texts("en"), dialogue("Jeanne Martin", "AT-2026-114"))
    assert (people.person, people.permit) == ("Jeanne Martin", "AT-2026-114")


@pytest.mark.parametrize(("name", "permit"), [("", "AT-1"), ("JM", "AT-1"), ("Jeanne Martin", " ")])
def test_without_name_or_permit_nothing_starts(name: str, permit: str) -> None:
    with pytest.raises(SettingsError, match="both are needed"):
        introduce(settings("quay"), Texts("en"), dialogue(name, permit))


def test_each_button_has_to_be_named() -> None:
    with pytest.raises(SettingsError, match="name each emergency stop"):
        introduce(settings(), Texts("en"), dialogue())


def test_a_meter_has_no_emergency_stop() -> None:
    with pytest.raises(SettingsError, match="a meter has no emergency stop"):
        introduce(settings("quay", kind="meter", profile="generic-meter"), Texts("en"), dialogue())


@pytest.mark.parametrize(
    ("point", "value", "shown"),
    [
        ("vessel_present", 1.0, "1"),
        ("vessel_present", float("nan"), "unknown"),
        ("estop", 1.0, "1"),
        ("gate_up_state", 1.0, "OPENING"),
        ("sluice_down_state", 2.0, "OPEN"),
    ],
)
def test_a_lock_that_is_not_idle_allows_no_step(
    point: str, value: float, shown: str, recorded: Callable[[str], Trace], change: Callable[..., None]
) -> None:
    trace = recorded("lock")
    for rows in trace.rows.values():
        del rows[30:]  # before the first boat comes
    assert why_not_idle(trace) is None
    change(trace, point, lambda t_s, old: value if t_s == 20 else old)
    assert why_not_idle(trace) == (point, shown)


def test_a_charger_with_its_plug_in_allows_no_step(
    recorded: Callable[[str], Trace], change: Callable[..., None]
) -> None:
    trace = recorded("charger")
    for rows in trace.rows.values():
        del rows[100:]
    assert why_not_idle(trace) is None
    change(trace, "mated", lambda t_s, old: 1.0 if t_s > 100 else old)
    assert why_not_idle(trace) == ("mated", "1")


def test_a_button_that_is_not_confirmed_by_its_name_is_left_out(tmp_path: Path) -> None:
    """At a real terminal: name, permit, then "yes" instead of the button's name."""
    with Process(["python", "-m", "firmware_sim.cli", "run", "demo-port", "--speed", "1"]) as sim:
        port = json.loads(sim.ready_line[5:])["devices"]["lock-1"]["port"]
        args = [
            sys.executable, "-m", "firmware_sim.hil.cli", "run", "--kind", "lock", "--lang", "en",
            "--out", str(tmp_path), "--target", f"modbus://127.0.0.1:{port}/1", "--profile", "generic-lock",
            "--watch", "3", "--no-gateway", "--panel", "--estop", "quay north",
        ]  # fmt: skip
        said, code = at_a_terminal(
            args, [("charge: ", "Jeanne Martin"), ("number: ", "AT-7"), ("leave it out: ", "yes")]
        )
    assert code == 0, said
    assert "NOW" not in said
    (sheet,) = tmp_path.glob("*.html")
    assert "Jeanne Martin" in sheet.read_text() and "AT-7" in sheet.read_text()
    (junit,) = tmp_path.glob("*.xml")
    skipped = [
        case.get("name") for case in ET.parse(junit).getroot().iter("testcase") if case.find("skipped") is not None
    ]
    assert any("quay north" in str(name) for name in skipped)


def at_a_terminal(args: list[str], answers: list[tuple[str, str]]) -> tuple[str, int]:
    """Run a program on a pty and type each answer when its question has come."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(args[0], args)
    said, waiting, end_s = "", list(answers), time.monotonic() + 60.0
    while time.monotonic() < end_s:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                said += os.read(terminal, 4096).decode("utf-8", "replace")
            except OSError:
                break  # the program has ended
        if waiting and waiting[0][0] in said:
            question, answer = waiting.pop(0)
            said = said.split(question, 1)[1]
            os.write(terminal, answer.encode() + b"\n")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return said, os.waitstatus_to_exitcode(status)
