"""A service manager for tests: NOTIFY_SOCKET and WATCHDOG_USEC as systemd has them; it starts anew what hangs."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self


class Supervisor:
    """Runs one command for as long as its `with` block; whoever does not feed in time is ended with SIGABRT.

    Args:
        folder: For the socket and the log of the command.
        watchdog_s: As WatchdogSec. Counts from READY=1 on.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, watchdog_s: float, env: dict[str, str] | None = None
    ) -> None:
        self._command = [sys.executable if part == "python" else str(part) for part in command]
        self._watchdog_s, self._log = watchdog_s, folder / "service.log"
        address = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.setblocking(False)
        self._env = os.environ | (env or {}) | {
            "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
        }  # fmt: skip
        self.starts, self.feeds, self.kills = 0, 0, 0
        self.ready, self.said = False, list[str]()
        self._fed_s = 0.0

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(20)
        self._socket.close()

    def _start(self) -> None:
        self.ready, self.starts = False, self.starts + 1
        with self._log.open("ab") as log:
            self.child = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._env)

    def until(self, condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
        """Supervise until something holds. Raises: AssertionError with what the service said."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            self._turn()
            assert time.monotonic() < end_s, f"never held; the service said\n{self.log[-4000:]}"

    def _turn(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while selector.select(0.05):
                self._hear(self._socket.recv(4096).decode())
        if self.child.poll() is not None:
            self._start()  # Restart=on-failure
        elif self.ready and time.monotonic() - self._fed_s > self._watchdog_s:
            self.kills += 1
            self.child.send_signal(signal.SIGABRT)
            self.child.wait(20)

    def _hear(self, message: str) -> None:
        for line in message.split("\n"):
            self.said.append(line)
            if line == "READY=1":
                self.ready, self._fed_s = True, time.monotonic()
            elif line == "WATCHDOG=1":
                self.feeds, self._fed_s = self.feeds + 1, time.monotonic()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")
