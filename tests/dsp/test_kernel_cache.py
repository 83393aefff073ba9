"""The cache of kernels follows every file of dsp, not only the one whose kernel is called."""

import os
import runpy
import shutil
from pathlib import Path

import pytest

import dsp


def cache_of(folder: Path, monkeypatch: pytest.MonkeyPatch, parent: str) -> str:
    monkeypatch.setenv("NUMBA_CACHE_DIR", parent)
    monkeypatch.delitem(__import__("sys").modules, "numba", raising=False)  # its settings are left alone
    runpy.run_path(str(folder / "__init__.py"))
    return os.environ["NUMBA_CACHE_DIR"]


def test_a_change_in_a_called_file_opens_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "dsp"
    shutil.copytree(Path(dsp.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    first = cache_of(folder, monkeypatch, "/kernels")
    assert Path(first).parent == Path("/kernels")
    assert cache_of(folder, monkeypatch, first) == first  # in a child process
    with (folder / "soc_grid.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert cache_of(folder, monkeypatch, "/kernels") != first
