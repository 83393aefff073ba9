"""Who imports whom: the arrows of the design, and what a gateway must never load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

FOLDERS = ("dsp", "drivers", "edge", "gateway", "firmware_sim")
ALLOWED = {  # folder -> prefixes of ours that it may import, beside itself
    "dsp": (),
    "drivers": (),
    "edge": ("drivers", "dsp"),
    "gateway": ("edge.wire", "edge.mqtt", "edge.tls", "dsp"),  # one way to reach a broker
    "firmware_sim": ("drivers.profile", "drivers.errors"),
}


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports, wherever in the file; `from a import b` gives a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_what_the_design_allows(folder: str) -> None:
    wrong = []
    for path in (ROOT / folder).rglob("*.py"):
        allowed = ALLOWED[folder] + (("drivers",) if "hil" in path.parts else ())
        for name in imports(path):
            top = name.partition(".")[0]
            if top not in (*FOLDERS, "tests", "benchmarks") or top == folder:
                continue
            if not any(name == prefix or name.startswith(prefix + ".") for prefix in allowed):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_the_front_door_names_other_folders_only_as_text() -> None:
    ours = {name.partition(".")[0] for name in imports(ROOT / "gateway" / "cli.py")} & set(FOLDERS)
    assert ours == set()


def test_the_wire_needs_the_standard_library_only() -> None:
    tops = {name.partition(".")[0] for name in imports(ROOT / "edge" / "wire.py")}
    assert tops <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("folder", ["edge", "gateway"])
def test_packages_that_others_load_from_are_empty(folder: str) -> None:
    assert (ROOT / folder / "__init__.py").read_text() == ""


def test_the_edge_loads_nothing_of_the_shore() -> None:
    program = """
import sys
sys.argv = ["bollard", "edge", "check", "--site", "/nowhere.toml"]
from gateway.cli import main
try:
    main()
except SystemExit:
    pass
import edge.agent  # what `edge run` loads once its site file is read
print("\\n".join(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "edge.uplink" in loaded
    assert {name for name in loaded if name.startswith("gateway")} == {"gateway", "gateway.cli"}
    heavy = {
        "influxdb_client",
        "amqtt",
        "starlette",
        "typst",
        "matplotlib",
        "pandas",
        "scipy",
        "asyncua",
        "firmware_sim",
    }
    assert loaded & heavy == set()
