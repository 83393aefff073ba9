"""What is installed is what is in the folder: the wheel carries its data and runs from an empty place."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    copy = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(copy, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, listed):
        path = ROOT / name.decode()
        if path.is_file():
            target = source / name.decode()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    return next(out.glob("bollard-*.whl"))


def test_the_wheel_holds_code_and_data_of_the_five_folders(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "edge/agent.py", "drivers/profiles/generic-meter.toml", "dsp/cells/nmc.toml", "gateway/text/fr.toml",
        "gateway/report/factors.json",
        "firmware_sim/scenarios/demo-port.toml",
        "firmware_sim/recordings/ferry-call.csv.gz",
        "gateway/store/sqlite.py", "firmware_sim/plant/lock.py",
    ):  # fmt: skip
        assert needed in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "edge", "drivers", "dsp", "gateway", "firmware_sim",
    }  # fmt: skip


def test_the_installed_wheel_runs_without_the_project_beside_it(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    program = (
        "import drivers, gateway.cli; from drivers.profile import load_profile, shipped_profiles; "
        "print(drivers.__file__, [load_profile(n).hash for n in shipped_profiles()])"
    )
    environment = {"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout
