"""What all tests share: where servers and recordings are, and the rule that a missing one is named."""

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from order import rank, scheduler

ROOT = Path(__file__).resolve().parent.parent
hypothesis.settings.register_profile("bollard", deadline=None)  # no test depends on how busy the machine is
hypothesis.settings.load_profile("bollard")
REQUIRED = os.environ.get("BOLLARD_REQUIRE_SERVERS") == "1"


def shared_folder() -> Path | None:
    """The recordings beside the project, or None."""
    folder = Path(os.environ.get("BOLLARD_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "data" / "battery").is_dir() else None


def influxd() -> Path | None:
    """The influxd that tests/servers/install.sh has built, or None."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bollard" / "servers"
    found = sorted(Path(os.environ.get("BOLLARD_SERVERS", cache)).glob("influxd-v*"))
    found = [path for path in found if os.access(path, os.X_OK) and path.suffix != ".part"]
    return found[-1] if found else None


def mosquitto() -> str | None:
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def peers() -> Path | None:
    """The npm packages that tests/peers/install.sh has installed, or None."""
    lock = ROOT / "tests" / "peers" / "package-lock.json"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bollard" / "peers"
    folder = Path(os.environ.get("BOLLARD_PEERS", cache)) / f"npm-{sha256(lock.read_bytes()).hexdigest()[:12]}"
    return folder if shutil.which("node") and (folder / ".ready").exists() else None


def libmodbus() -> bool:
    found = shutil.which("cc") and shutil.which("pkg-config")
    return bool(found) and subprocess.run(["pkg-config", "--exists", "libmodbus"], check=False).returncode == 0


NEEDS = {  # marker -> (is it there, what to do)
    "mosquitto": (
        lambda: mosquitto() and shutil.which("mosquitto_sub"), "apt-get install mosquitto mosquitto-clients",
    ),
    "influx": (influxd, "run tests/servers/install.sh, which builds influxd"),
    "shared": (shared_folder, "set BOLLARD_SHARED to the folder with data/battery"),
    "chromium": (lambda: shutil.which("chromium"), "apt-get install chromium"),
    "npm": (peers, "install Node.js 20 and run tests/peers/install.sh"),
    "qpdf": (lambda: shutil.which("qpdf"), "apt-get install qpdf"),
    "poppler": (lambda: shutil.which("pdftotext"), "apt-get install poppler-utils"),
    "libmodbus": (libmodbus, "apt-get install libmodbus-dev pkg-config and a C compiler"),
}  # fmt: skip


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.nodeid))
    missing = {marker: remedy for marker, (there, remedy) in NEEDS.items() if not there()}
    for item in items:
        for marker, remedy in missing.items():
            if item.get_closest_marker(marker) is None:
                continue
            if REQUIRED:  # a skip would hide that nothing was tested
                item.add_marker(pytest.mark.usefixtures("_missing_server"))
            else:
                item.add_marker(pytest.mark.skip(reason=f"no {marker} here: {remedy}"))


@pytest.fixture
def _missing_server() -> None:
    pytest.fail("a server that this test needs is missing, and BOLLARD_REQUIRE_SERVERS=1 allows no skip")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with data/battery; use it with the marker `shared`."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("no shared folder here: set BOLLARD_SHARED")
    return folder


@pytest.fixture(scope="session")
def kernels() -> None:
    """Every kernel called once, so that no test times the compiler."""
    from dsp.warm import warm

    warm()


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A folder in which no file can be made, not even by root."""
    tmp_path.chmod(0o555)
    return Path("/proc/self") if os.access(tmp_path, os.W_OK) else tmp_path
