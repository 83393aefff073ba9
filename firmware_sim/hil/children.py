"""Processes that the kit starts, and ends: the simulator, the broker, the agent."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Self

from firmware_sim.hil.settings import UnreachableError


class Child:
    """`python -m …` in a process group of its own, for as long as its `with` block.

    Raises: UnreachableError, with the end of what it said, if no line `ready …` came.
    """

    def __init__(self, module: str, *args: str, timeout_s: float = 120.0) -> None:
        self._command = [sys.executable, "-m", module, *args]
        self._timeout_s = timeout_s
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.said: list[str] = []
        self.ready_line = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        pipes = (self._process.stdout, self._process.stderr)
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, i == 0), daemon=True) for i, pipe in enumerate(pipes)
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.ready_line = self._wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _read(self, pipe: IO[str], ends: bool) -> None:
        for line in pipe:
            self.said.append(line.rstrip("\n"))
            del self.said[:-200]
            if ends:
                self._lines.put(line.rstrip("\n"))
        if ends:
            self._lines.put(None)

    def _wait_ready(self) -> str:
        end_s = time.monotonic() + self._timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, end_s - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                said = "\n".join(self.said[-20:]) or "nothing"
                raise UnreachableError(f"{' '.join(self._command[2:4])} did not get ready; it said:\n{said}")
            if line.startswith("ready"):
                return line[len("ready") :].strip()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, timeout_s: float = 10.0) -> int:
        """End it in good order. Returns: its exit code."""
        self._signal(signal.SIGTERM)
        return self._process.wait(timeout_s)

    def _signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signum)

    def __exit__(self, *_: object) -> None:
        if self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
        self._signal(signal.SIGKILL)
        self._process.wait(10)
        for reader in self._readers:
            reader.join(5)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
