"""A start that has to compile says so; one from the cache is silent."""

import logging

import pytest
from numba import njit

from edge.kernels import load_kernels, telling


def test_compiling_is_told_before_and_after(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge.kernels")
    one, other = njit(lambda x: x + 1), njit(lambda x: x + 2)
    with telling():
        assert caplog.messages == []
        one(1)
        assert len(caplog.messages) == 1 and caplog.messages[0].startswith("event=compiling_kernels cache=")
        other(1)
    assert len(caplog.messages) == 2 and caplog.messages[1].startswith("event=kernels_compiled seconds=")


@pytest.mark.usefixtures("kernels")
def test_what_is_compiled_already_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge.kernels")
    load_kernels(["meter", "charger", "battery", "lock"])
    assert caplog.messages == []
