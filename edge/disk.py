"""The spool, and the one thread that touches it."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from edge.rounds import WORK_S, Rest, nobody_asks
from edge.spool import Salvaged, Spool, SpoolDamagedError, SpoolError, SpoolIoError

log = logging.getLogger(__name__)
T = TypeVar("T")
AGAIN_S = 1.0
SLOWEST_BYTES_S = 2**20  # of a salvage: a bound for a worn-out card that is read and written at once


class Disk:
    """Calls methods of the spool in its thread. After an error that needs it, the next call opens the file anew.

    What the spool refuses is told once, and once more when it works again; whoever called tries again later.

    Args:
        on_trouble: Called in the event loop with the first SpoolError after all went well.
        on_salvaged: Called in the event loop after a damaged file has been replaced.
        rest: Is told of each wait for a disk that refuses.
        excuse: Is told how long a damaged file may take to mend before it is, and again when it is done. [s]
    """

    def __init__(
        self, spool: Spool, on_trouble: Callable[[SpoolError], None], on_salvaged: Callable[[Salvaged], None],
        rest: Rest = nobody_asks, excuse: Rest = nobody_asks,
    ) -> None:  # fmt: skip
        self.spool, self._rest, self._excuse = spool, rest, excuse
        self._on_trouble, self._on_salvaged = on_trouble, on_salvaged
        self._thread = ThreadPoolExecutor(1, "spool")
        self._broken: SpoolError | None = None  # the file has to be opened anew
        self._failing: set[object] = set()  # what the spool has refused and not done since

    def start(self, function: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        """For who has to know the end of it even if cancelled; else `await disk(Spool.method, …)`."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, self._run, loop, function, *args)
        future.add_done_callback(lambda done: self._look(function, done))
        return future

    async def __call__(self, function: Callable[..., T], *args: Any) -> T:
        """Raises: SpoolError."""
        return await self.start(function, *args)

    async def asked(self, default: T, function: Callable[..., T], *args: Any) -> T:
        """The answer, or `default` while the disk does not give one."""
        try:
            return await self(function, *args)
        except SpoolError:
            return default

    async def insist(self, function: Callable[..., T], *args: Any) -> T:
        """The answer, however long it takes."""
        while True:
            try:
                return await self(function, *args)
            except SpoolError:
                self._rest(AGAIN_S)
                await asyncio.sleep(AGAIN_S)

    def _run(self, loop: asyncio.AbstractEventLoop, function: Callable[..., T], *args: Any) -> T:
        try:
            if self._broken is not None:
                found = self._reopened(loop, self._broken)
                self._broken = None
                if found is not None:
                    loop.call_soon_threadsafe(self._on_salvaged, found)
            return function(self.spool, *args)
        except (SpoolDamagedError, SpoolIoError) as error:
            self._broken = error
            raise

    def _reopened(self, loop: asyncio.AbstractEventLoop, error: SpoolError) -> Salvaged | None:
        if not isinstance(error, SpoolDamagedError):
            return self.spool.reopen(error)
        with contextlib.suppress(OSError):
            loop.call_soon_threadsafe(self._excuse, WORK_S + self.spool.path.stat().st_size / SLOWEST_BYTES_S)
        try:
            return self.spool.reopen(error)
        finally:
            loop.call_soon_threadsafe(self._excuse, WORK_S)  # for who has waited to come round

    def _look(self, function: object, future: "asyncio.Future[Any]") -> None:
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, SpoolError):
            if not self._failing:
                log.error("event=spool_refuses error=%r", str(error))
                self._on_trouble(error)
            self._failing.add(function)
        elif error is None and function in self._failing:
            self._failing.discard(function)
            if not self._failing:
                log.info("event=spool_works_again")

    async def close(self) -> None:
        """Raises: SpoolError; then the next start finds the file as a kill leaves it."""
        try:
            await self(Spool.close)
        finally:
            self._thread.shutdown()
