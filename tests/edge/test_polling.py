"""A poller goes on until it is told to stop."""

import asyncio
import logging

import pytest

from edge import polling


class Cancelled:
    """A poller that is cancelled by nobody, once."""

    def __init__(self) -> None:
        self.starts = 0
        self.polls = asyncio.Event()

    async def run(self) -> None:
        self.starts += 1
        if self.starts == 1:
            raise asyncio.CancelledError
        self.polls.set()
        await asyncio.Event().wait()


async def test_a_cancellation_that_nobody_asked_for_silences_no_device(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(polling, "AGAIN_S", 0.0)
    poller = Cancelled()
    with caplog.at_level(logging.ERROR):
        task = asyncio.create_task(polling._kept(poller, "ferry-bms"))  # type: ignore[arg-type]
        await asyncio.wait_for(poller.polls.wait(), 10)
    assert "device=ferry-bms event=polling_begins_again" in caplog.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert poller.starts == 2
