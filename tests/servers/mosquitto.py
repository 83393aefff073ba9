"""A real mosquitto on a free loopback port, with its own configuration."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from processes import free_port

READY_S = 60.0


class Mosquitto:
    """The broker for as long as its `with` block; it can be killed and started again, and then has forgotten all.

    Args:
        folder: Empty; holds configuration and log.
        extra: Lines for the configuration.
        made: A folder with a configuration that was made elsewhere, which listens on `port`.
    """

    def __init__(self, folder: Path, extra: str = "", made: Path | None = None, port: int = 0) -> None:
        self.port = port or free_port()
        self._folder = made or folder
        self._child: subprocess.Popen[bytes] | None = None
        if made is None:
            (folder / "mosquitto.conf").write_text(
                f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
                f"log_dest stderr\n{extra}"
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start, on the same port, and wait until it listens."""
        binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._child = subprocess.Popen(
                [binary, "-c", self._folder / "mosquitto.conf"], stdout=log, stderr=log, start_new_session=True
            )
        end_s = time.monotonic() + READY_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if time.monotonic() > end_s or self._child.poll() is not None:
                    said = (self._folder / "mosquitto.log").read_text(errors="replace")[-3000:]
                    raise AssertionError(f"mosquitto does not listen on {self.port}:\n{said}") from None
                time.sleep(0.02)

    def reload(self) -> None:
        """Have it read access rules, certificates and the list of revoked ones again."""
        assert self._child is not None
        self._child.send_signal(signal.SIGHUP)

    @property
    def log(self) -> str:
        return (self._folder / "mosquitto.log").read_text(errors="replace")

    def stop(self) -> None:
        """End it as a service manager does: it saves what it is to keep."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def _end(self, signum: int) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signum)
            self._child.wait(READY_S)
