"""The shipped acceptance cases: a pytest file per kind, and what all kinds share. Their texts are in `text/`."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
FILES = {
    kind: ("common.py", f"{kind}.py", "through_gateway.py", "disturbed.py")
    for kind in ("charger", "meter", "battery", "lock")
}


def case(name: str) -> pytest.MarkDecorator:
    """Marks a test function as the case of this id."""
    return pytest.mark.case(name)


def files_of(kind: str) -> list[Path]:
    """The files of a kind, in the order in which they run."""
    return [FOLDER / name for name in FILES[kind]]
