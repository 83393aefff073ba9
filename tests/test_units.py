"""The systemd units that ship: they say what they mean to, and systemd reads them without a complaint."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from gateway.report.cli import app

UNITS = Path(__file__).parents[1] / "deploy" / "systemd"


class Unit(configparser.RawConfigParser):
    """systemd's files: keys keep their case and may stand again."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",))
        self.optionxform = str  # type: ignore[assignment, method-assign]
        self.read(UNITS / name, encoding="utf-8")


def test_the_timer_starts_the_service_of_its_name_once_a_month() -> None:
    timer = Unit("bollard-report.timer")
    assert re.fullmatch(r"\*-\*-\d\d \d\d:\d\d:\d\d", timer["Timer"]["OnCalendar"])
    assert timer["Timer"]["Persistent"] == "true" and timer["Install"]["WantedBy"] == "timers.target"
    assert (UNITS / "bollard-report.service").exists()


def test_the_service_calls_a_command_that_there_is() -> None:
    service = Unit("bollard-report.service")["Service"]
    program, *words = service["ExecStart"].split()
    assert Path(program).name == "bollard" and words[:2] == ["report", "make"]
    options = {word for word in words if word.startswith("--")}
    shown = CliRunner().invoke(app, ["make", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert options == {"--last-month", "--out"} and all(option in shown for option in options)
    assert service["SuccessExitStatus"] == "3" and service["RestartPreventExitStatus"] == "1 2"


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    """Where systemd is: with a program that exists instead of ours."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # the structure is checked above
    for unit in UNITS.glob("bollard-report.*"):
        text = unit.read_text("utf-8").replace("/opt/bollard/bin/bollard", sys.executable)
        (tmp_path / unit.name).write_text(text, "utf-8")
    units = [str(tmp_path / f"bollard-report.{kind}") for kind in ("service", "timer")]
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "bollard-report" in line]
    assert complaints == [], done.stderr
