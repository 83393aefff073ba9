"""A service of the shore side ends by signal: SIGTERM with exit code 0, Ctrl-C with 130."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any


async def until_signalled(service: Coroutine[Any, Any, None]) -> int:
    """Run a service until SIGTERM or SIGINT; its exit code. What it raises before leaves."""
    code = 0
    task = asyncio.create_task(service)

    def stop(exit_code: int) -> None:
        nonlocal code
        code = exit_code
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop, 0)
    loop.add_signal_handler(signal.SIGINT, stop, 130)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return code
