"""Starts processes for tests: waits for a readiness line, ends the whole group, shows what it said on failure."""

import contextlib
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self


def free_port() -> int:
    """A loopback port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nothing uses; below those that the system gives to clients."""
    for base in random.sample(range(20_000, 32_000), 200):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base
    raise RuntimeError(f"no {count} free ports in a row")


def listen_to_ctrl_c() -> None:
    """A shell that runs in the background starts its children with SIGINT ignored, and they hand it on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Process:
    """A child in its own process group, for as long as its `with` block.

    Args:
        command: The program and its arguments; `python` stands for this interpreter.
        ready: Text that a line on stdout starts with once it serves; None waits for nothing.
    """

    def __init__(
        self, command: Sequence[str], ready: str | None = "ready", timeout_s: float = 60.0,
        env: dict[str, str] | None = None, cwd: Path | None = None,
    ) -> None:  # fmt: skip
        self._command = [sys.executable if part == "python" else str(part) for part in command]
        self._ready, self._timeout_s, self._cwd = ready, timeout_s, cwd
        self._env = os.environ | (env or {})
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.said: list[str] = []
        self.ready_line = ""

    def __enter__(self) -> Self:
        self.child = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._env,
            cwd=self._cwd, start_new_session=True, preexec_fn=listen_to_ctrl_c,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if self._ready is not None:
            try:
                self.ready_line = self.wait_for(self._ready, self._timeout_s)
            except BaseException:
                self.__exit__()
                raise
        return self

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.said.append(line.rstrip("\n"))
            self._lines.put(self.said[-1])
        self._lines.put(None)

    def wait_for(self, start: str, timeout_s: float) -> str:
        """The first line not yet looked at that starts so. Raises: AssertionError with all that was said."""
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, end_s - time.monotonic()))
            except queue.Empty:
                line = None
            if line is not None and line.startswith(start):
                return line
            if line is None:
                raise AssertionError(f"{self._command} never said {start!r}:\n" + "\n".join(self.said[-60:]))

    def wait(self, timeout_s: float) -> int:
        """Exit code. Raises: subprocess.TimeoutExpired."""
        code = self.child.wait(timeout_s)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self.child.wait(5)

    def terminate(self, timeout_s: float = 15.0) -> int:
        self._signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def _signal(self, signum: int) -> None:
        """To the whole group. Once the child is reaped its number is free, unless some of the group are left."""
        if self.child.returncode is not None and Path(f"/proc/{self.child.pid}").exists():
            return  # another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signum)

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(5)
        self._signal(signal.SIGKILL)  # what it may have left behind
        self.child.wait(5)
        self._reader.join(5)
        if self.child.stdout is not None and not self._reader.is_alive():
            self.child.stdout.close()  # while the reader waits in it (a grandchild holds the pipe) this never ends
