"""A site file with every kind of device."""

from pathlib import Path

import pytest
from edge_rows import load

from edge.config import LoadedSite


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSite:
    return load(tmp_path)
