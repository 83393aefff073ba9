"""Put a bench on real sockets and keep it there until it is stopped."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

from firmware_sim.bench import Bench
from firmware_sim.clock import SimClock
from firmware_sim.control import ControlPort
from firmware_sim.running import announced
from firmware_sim.stand import FaultKeeper, Ports, PortTakenError, Stand, port_named

__all__ = ["PortTakenError", "Ports", "run", "serving"]
log = logging.getLogger("firmware_sim")
_PARENT_POLL_S = 0.3


@contextlib.asynccontextmanager
async def serving(
    bench: Bench, clock: SimClock, ports: Ports, stop: asyncio.Event
) -> AsyncIterator[dict[str, Any]]:
    """Serve every device while the block runs.

    Yields: what the ready line says: devices with their addresses, the control port, what is replayed.
    Raises: PortTakenError.
    """
    async with contextlib.AsyncExitStack() as stack:
        group = await stack.enter_async_context(_cancelled_at_exit())
        stand = Stand(bench, clock, ports)
        await stand.open(stack.push_async_callback, group)
        keeper = FaultKeeper(stand, clock)
        group.append(asyncio.create_task(keeper.keep(), name="faults"))
        control = ControlPort(
            bench, clock, stop, lambda: {name: dict(unit.requests) for name, unit in stand.units.items()},
            stand.board, keeper.settle,
        )  # fmt: skip
        stack.push_async_callback(control.stop)
        with port_named("the control port", "127.0.0.1", ports.control):
            control_port = await control.start(ports.control)
        yield {"devices": stand.addresses, "control": control_port, "berths": bench.describe()}


async def run(
    bench: Bench,
    clock: SimClock,
    ports: Ports,
    ready: Callable[[dict[str, Any]], None],
    duration_s: float | None = None,
    parent_pid: int | None = None,
) -> bool:
    """Serve until SIGTERM, SIGINT, a stop on the control port, the end of `duration_s` or of the parent.

    Args:
        ready: Called once, when every socket listens.
        duration_s: Simulated, counted from the epoch. [s]

    Returns: whether it was SIGINT that ended it.
    Raises: PortTakenError.
    """
    stop, interrupted = asyncio.Event(), False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        stop.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    async with serving(bench, clock, ports, stop) as ready_line, _cancelled_at_exit() as tasks:
        if parent_pid is not None:
            tasks.append(asyncio.create_task(_watch_parent(parent_pid, stop), name="parent"))
        if duration_s is not None:
            tasks.append(asyncio.create_task(_watch_clock(clock, duration_s, stop), name="duration"))
        with announced(ready_line["control"], bench.name):
            ready(ready_line)
            await stop.wait()
    return interrupted


async def _watch_parent(pid: int, stop: asyncio.Event) -> None:
    ours = os.getppid() == pid  # else it is another process, as under a wrapper
    while not stop.is_set():
        if (ours and os.getppid() != pid) or not _exists(pid):
            log.info("parent %d is gone; stopping", pid)
            stop.set()
        await asyncio.sleep(_PARENT_POLL_S)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _watch_clock(clock: SimClock, duration_s: float, stop: asyncio.Event) -> None:
    while not stop.is_set():
        left_s = duration_s - clock.elapsed_ns() / 1e9
        if left_s <= 0.0:
            stop.set()
        await asyncio.sleep(min(0.1, max(0.001, clock.real_s(left_s))))  # the clock may not have started


@contextlib.asynccontextmanager
async def _cancelled_at_exit() -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks put into the list end with the block; a bug in one leaves here."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
