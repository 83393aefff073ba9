"""What of the Debian packages needs no build: scripts, units, list of parts. The rest: `deploy/deb/prove.sh`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

DEPLOY = ROOT / "deploy"
SCRIPTS = sorted((DEPLOY / "deb/scripts").iterdir())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
# What scripts of packages call, and a test must not.
NOT_DONE = ("getent", "install", "chgrp", "chmod", "rm", "runuser", "systemctl")
sys.path.insert(0, str(DEPLOY / "deb"))
from sbom import bill_of_materials  # noqa: E402 - it lies beside build.py, not in a package

analyze = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(analyze is None, reason="no systemd-analyze here: apt-get install systemd")


@pytest.mark.parametrize("file", [*SCRIPTS, DEPLOY / "deb/install.sh", DEPLOY / "compose/setup.sh"], ids=str)
def test_scripts_are_plain_shell_and_stop_at_the_first_error(file: Path) -> None:
    text = file.read_text()
    assert text.startswith("#!/bin/sh\n") and re.search(r"^set -eu?$", text, re.MULTILINE)
    subprocess.run(["sh", "-n", file], check=True, timeout=30)


@pytest.mark.parametrize("file", [DEPLOY / "deb/repository", DEPLOY / "deb/prove.sh"], ids=str)
def test_tools_are_sound_bash(file: Path) -> None:
    subprocess.run(["bash", "-n", file], check=True, timeout=30)


def preinst(*words: str) -> subprocess.CompletedProcess[str]:
    text = (DEPLOY / "deb/scripts/bollard.preinst").read_text().replace("@VERSION@", "0.2.0")
    return subprocess.run(
        ["sh", "-s", "--", *words], input=text, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="no dpkg here: this is no Debian")
def test_a_downgrade_is_refused_before_anything_changes() -> None:
    done = preinst("upgrade", "0.10.0")
    assert done.returncode == 1
    assert "0.10.0 is installed and 0.2.0 is older" in done.stderr
    assert "nothing was changed" in done.stderr
    for words in (("upgrade", "0.1.9"), ("upgrade", "0.2.0"), ("install",), ("install", "0.3.0")):
        assert preinst(*words).returncode == 0, words  # the last: it was removed before, and that was meant


@pytest.mark.parametrize("package", ["bollard", "bollard-shore"])
def test_an_upgrade_ends_even_if_the_new_version_does_not_start(package: str, tmp_path: Path) -> None:
    """A site file that it refuses would else leave dpkg with a package half configured."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    for name in NOT_DONE:
        file = tmp_path / name
        file.write_text('#!/bin/sh\n[ "$1" != try-restart ]\n')
        file.chmod(0o755)
    text = (DEPLOY / f"deb/scripts/{package}.postinst").read_text().replace("/run/", f"{tmp_path}/run/")
    done = subprocess.run(
        [shutil.which("sh") or "sh", "-s", "--", "configure", "0.0.9"],
        input=text, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "does not start" in done.stderr and "journalctl -u bollard-" in done.stderr


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_exposed_as_little_as_ok(unit: Path) -> None:
    done = subprocess.run(
        [str(analyze), "security", "--offline=true", "--threshold=50", str(unit)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:]
    assert " OK " in done.stdout.splitlines()[-1]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_understood(unit: Path, tmp_path: Path) -> None:
    """Where the program is not installed, another takes its place: the path is all that may be wrong."""
    text = unit.read_text().replace("/opt/bollard/bin/bollard", "/bin/true")
    (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        [str(analyze), "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not ours, done.stderr


def calls_of(names: str) -> set[str]:
    """System calls, with those of each set that is named."""
    found: set[str] = set()
    for name in names.split():
        if name.startswith("@"):
            command = [str(analyze), "syscall-filter", name]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
            lines = [line.strip() for line in done.stdout.splitlines()[1:]]
            name = " ".join(line for line in lines if line and not line.startswith("#"))
            found |= calls_of(name)
        else:
            found.add(name)
    return found


@needs_systemd
def test_the_agent_may_ask_the_clock_when_all_lines_of_the_filter_have_counted() -> None:
    """As systemd reads them: in their order, `~` takes away. Else all rows would wait for a clock that is set."""
    text = (DEPLOY / "systemd/bollard-edge.service").read_text()
    allowed: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", text, re.MULTILINE):
        allowed = allowed - calls_of(line[1:]) if line.startswith("~") else allowed | calls_of(line)
    assert {"adjtimex", "clock_adjtime", "clock_adjtime64"} <= allowed
    assert not {"clock_settime", "settimeofday", "chroot", "setuid"} & allowed


def test_the_agents_unit_lets_the_clock_be_asked_and_kernels_be_compiled() -> None:
    text = (DEPLOY / "systemd/bollard-edge.service").read_text()
    assert not re.search(r"^(ProtectClock|MemoryDenyWriteExecute)=", text, re.MULTILINE)
    assert re.search(r"^Type=notify$", text, re.MULTILINE) and re.search(r"^WatchdogSec=\d+$", text, re.MULTILINE)


def test_the_list_of_parts_names_each_with_version_and_licence() -> None:
    site = next(Path(folder) for folder in sys.path if (Path(folder) / "pydantic").is_dir())
    bill = bill_of_materials(site, "bollard", "0.1.0", "arm64", 1_790_000_000)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["pydantic"]["purl"] == f"pkg:pypi/pydantic@{parts['pydantic']['version']}"
    assert parts["pydantic"]["licenses"] == [{"expression": "MIT"}]
    assert parts["typing-extensions"]["purl"].startswith("pkg:pypi/typing-extensions@")  # by its normal name
    assert {ref for part in bill["dependencies"] for ref in part["dependsOn"]} == {
        part["bom-ref"] for part in bill["components"]
    }
    again = bill_of_materials(site, "bollard", "0.1.0", "arm64", 1_790_000_000)
    assert bill == again
