"""`bollard hil run` as a person starts it: green on the simulator, red for a fault, honest on a real address."""

import hashlib
import json
import re
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Process, free_port

from firmware_sim.hil.cases import FILES

METER = ("--kind", "meter", "--profile", "generic-meter", "--no-gateway")
LOCK = ("--kind", "lock", "--profile", "generic-lock", "--no-gateway")


def hil(out: Path, *args: str, timeout_s: float = 240.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", "hil", "run", "--out", str(out), "--lang", "en", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)


def outcomes(out: Path) -> dict[str, tuple[str, str]]:
    """Case -> (passed, failed or skipped; the message), of the JUnit file."""
    (file,) = out.glob("*.xml")
    found = {}
    for case in ET.parse(file).getroot().iter("testcase"):
        (name,) = (p.get("value") or "" for p in case.iter("property") if p.get("name") == "case")
        told = next((child for child in case if child.tag in ("failure", "skipped", "error")), None)
        found[name] = ("passed", "") if told is None else (told.tag, told.get("message") or "")
    return found


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, Any]]:
    """The simulator as if its devices were real: the kit is only given their addresses."""
    with Process(["python", "-m", "firmware_sim.cli", "run", "demo-port", "--speed", "30"]) as sim:
        yield json.loads(sim.ready_line[5:])["devices"]


def test_a_simulated_lock_is_green_with_its_agent_and_leaves_a_sheet(tmp_path: Path) -> None:
    done = hil(tmp_path, "--kind", "lock", "--watch", "55min", "--speed", "300")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = outcomes(tmp_path)
    assert {name for name, (outcome, _) in seen.items() if outcome not in ("passed", "skipped")} == set()
    assert [seen[name][0] for name in ("COM-01", "LCK-06", "LCK-09", "LCK-14", "GTW-01", "GTW-03")] == [
        "passed"
    ] * 6
    (sheet,), (junit,) = tmp_path.glob("*.html"), tmp_path.glob("*.xml")
    page = sheet.read_text()
    assert "SIMULATION" in page and "Signature" in page
    assert page.index("Procès-verbal d&#x27;essais") < page.index("Acceptance test sheet")
    assert hashlib.sha256(junit.read_bytes()).hexdigest() in page
    assert not re.search(r'(src|href)="?http', page)
    assert done.stdout.strip().splitlines()[-2:] == [str(junit), str(sheet)]


def test_a_fault_turns_its_case_red_and_says_what_it_saw(tmp_path: Path) -> None:
    args = ("--kind", "lock", "--watch", "30min", "--speed", "300", "--no-gateway")
    done = hil(tmp_path, *args, "--fault", "lock-opposite-sluice-open")
    assert done.returncode == 1, done.stdout + done.stderr
    outcome, message = outcomes(tmp_path)["LCK-06"]
    assert outcome == "failure"
    assert re.search(
        r"sluice (up|down) open while gate (up|down) was not closed, \d+ s from \d\d:\d\d:\d\d", message
    )


def test_a_real_address_is_read_only_and_nothing_is_claimed_that_was_not_seen(
    tmp_path: Path, served: dict[str, Any]
) -> None:
    target = f"modbus://127.0.0.1:{served['meter-1']['port']}/1"
    done = hil(
        tmp_path,
        "--kind",
        "meter",
        "--target",
        target,
        "--profile",
        "generic-meter",
        "--watch",
        "4",
        "--no-gateway",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = outcomes(tmp_path)
    assert seen["COM-02"][0] == "passed"
    assert seen["STL-02"][0] == "skipped" and "real device" in seen["STL-02"][1]
    assert seen["COM-05"] == ("skipped", seen["COM-05"][1])
    (sheet,) = tmp_path.glob("*.html")
    assert "class=simulated" not in sheet.read_text()


def test_a_profile_of_another_device_turns_red(tmp_path: Path, served: dict[str, Any]) -> None:
    target = f"modbus://127.0.0.1:{served['charger-1']['port']}/1"
    done = hil(tmp_path, *LOCK, "--target", target, "--watch", "3")
    assert done.returncode == 1
    assert outcomes(tmp_path)["COM-03"][0] == "failure"


def test_nothing_listens_is_exit_4(tmp_path: Path) -> None:
    target = f"modbus://127.0.0.1:{free_port()}/1"
    done = hil(tmp_path, "--kind", "lock", "--target", target, "--profile", "generic-lock")
    assert done.returncode == 4
    assert "connection refused" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_device_in_use_is_exit_4_and_not_touched(tmp_path: Path, served: dict[str, Any]) -> None:
    port = served["lock-1"]["port"]
    with socket.create_connection(("127.0.0.1", port)):
        done = hil(tmp_path, *LOCK, "--target", f"modbus://127.0.0.1:{port}/1")
    assert done.returncode == 4
    assert "already has a connection" in done.stderr


def test_wrong_input_is_exit_2_with_every_problem(tmp_path: Path) -> None:
    done = hil(tmp_path, "--kind", "crane", "--target", "ftp://x", "--limit", "head=1")
    assert done.returncode == 2
    starts = [" ".join(line.split(" ")[:2]) for line in done.stderr.splitlines()]
    assert {"--target ftp://x:", "--limit head=1:", "--kind crane:"} <= set(starts)


def test_panel_steps_want_a_person_at_a_terminal(tmp_path: Path, served: dict[str, Any]) -> None:
    target = f"modbus://127.0.0.1:{served['lock-1']['port']}/1"
    args = ("--kind", "lock", "--target", target, "--profile", "generic-lock", "--panel", "--estop", "quay")
    done = hil(tmp_path, *args)
    assert done.returncode == 2
    assert "a person has to confirm" in done.stderr


def test_a_test_file_of_ones_own_has_the_same_fixtures(tmp_path: Path) -> None:
    own = tmp_path / "test_mine.py"
    own.write_text(
        "def test_truth(plant, plc, trace):\n"
        "    assert plant.truth()['locks']['lock-1']['phase']\n"
        "    assert plc.read('mode') == plant.state()['mode'] == 1\n"
        "    assert trace.scans() > 3\n"
    )
    out = tmp_path / "out"
    done = hil(out, "--kind", "lock", "--watch", "60", "--no-gateway", "--tests", str(own))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kind_has_files_that_exist() -> None:
    folder = Path(sys.modules["firmware_sim.hil.cases"].__file__ or "").parent
    assert all((folder / name).is_file() for names in FILES.values() for name in names)
