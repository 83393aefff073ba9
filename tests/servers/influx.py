"""A real InfluxDB 2 on a free loopback port, with its data in a folder that the caller owns."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from processes import free_port

ORG, TOKEN = "port", "test-token-that-opens-nothing-else"
READY_S = 120.0


@dataclass(frozen=True)
class Access:
    """What a client needs to know."""

    url: str
    org: str = ORG
    token: str = TOKEN

    def store_url(self, bucket: str) -> str:
        """What `gateway.store.open_store` takes."""
        return f"influx:{self.url}?org={self.org}&bucket={bucket}"


class InfluxServer:
    """influxd for as long as its `with` block; onboarded on first start, and it can be stopped, killed, started.

    Args:
        binary: Path of influxd.
        folder: Empty at first; holds all its data.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self._child: subprocess.Popen[bytes] | None = None
        self.access = Access(f"http://127.0.0.1:{free_port()}")

    def __enter__(self) -> Self:
        try:
            self.start()
            if self.call("GET", "/api/v2/setup")["allowed"]:
                user = {
                    "username": "test",
                    "password": "test-password",
                    "org": ORG,
                    "bucket": "first",
                    "token": TOKEN,
                }
                self.call("POST", "/api/v2/setup", user)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start, on the same port with the same data, and wait until it answers."""
        folder = self._folder
        with (folder / "influxd.log").open("ab") as log:
            self._child = subprocess.Popen(
                [
                    self._binary, "--http-bind-address", self.access.url.removeprefix("http://"),
                    "--bolt-path", folder / "influxd.bolt", "--sqlite-path", folder / "influxd.sqlite",
                    "--engine-path", folder / "engine", "--reporting-disabled", "--log-level", "warn",
                ],
                stdout=log, stderr=log, start_new_session=True, env=os.environ | {"HOME": str(folder)},
            )  # fmt: skip
        end_s = time.monotonic() + READY_S
        while True:
            try:
                self.call("GET", "/health")
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end_s or self._child.poll() is not None:
                    said = (folder / "influxd.log").read_text(errors="replace")[-3000:]
                    raise AssertionError(f"influxd does not answer at {self.access.url}:\n{said}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """End it as a service manager does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut does, short of the disk."""
        self._end(signal.SIGKILL)

    def _end(self, signum: int) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signum)
            self._child.wait(20)

    def call(self, method: str, path: str, content: Any = None) -> Any:
        """One request to its API as its owner; the JSON of the answer. Raises: urllib.error.URLError."""
        request = urllib.request.Request(
            self.access.url + path,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            body = reply.read()
        return json.loads(body) if body else None
