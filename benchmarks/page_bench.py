"""What the page is measured on: twenty devices at 1 Hz on real sockets, and clients that only listen.

Fourteen places that a supervisor sees (eight locks, six berths of a tower and a meter) are simulated PLCs; agent,
broker, ingest and page are the product's own processes in real time.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from processes import Process, free_ports
from servers.mosquitto import Mosquitto

LOCKS, BERTHS = 8, 6
PASSWORD = "a long enough one"
COMMAND_S = 120.0


def scenario() -> str:
    """Eight locks in a row, and six berths of which each has a tower and a meter: twenty devices."""
    tables = ['schema = 1\nname = "page-bench"\nseed = 7\nstart = 2027-06-01T00:00:00Z']
    tables.append(
        '[[point]]\nname = "point-1"\nlimit_w = 70_000_000\ntransformer_w = 90_000_000\nauxiliary_w = 80_000\n'
        "meter = { class_percent = 0.2, line_voltage_v = 90_000, ct_ratio = 800, vt_ratio = 900 }"
    )
    tables += [
        f'[[ship]]\nname = "SHIP {n}"\nchemistry = "nmc"\nenergy_wh = 42_000_000\nsoc = 0.55\n'
        "sea_w = 10_080_000\ncrossing_s = 5400\nfar_w = 17_000_000"
        for n in range(1, BERTHS + 1)
    ]
    tables += [
        f'[[berth]]\nname = "berth-{n}"\npoint = "point-1"\ntower = {{ preset = "30mw", target_soc = 0.9 }}\n'
        "meter = { line_voltage_v = 20_000, ct_ratio = 400, vt_ratio = 200 }\n"
        f'call = [{{ ship = "SHIP {n}", arrive = "00:01", depart = "00:50" }}]'
        for n in range(1, BERTHS + 1)
    ]
    tables += [f'[[lock]]\nname = "lock-{n}"\npreset = "fall-4.9"' for n in range(1, LOCKS + 1)]
    for n in range(1, BERTHS + 1):
        for kind in ("charger", "meter"):
            tables.append(f'[[device]]\nname = "{kind}-{n}"\nprofile = "generic-{kind}"\nplant = "berth-{n}"')
    tables += [
        f'[[device]]\nname = "lock-{n}"\nprofile = "generic-lock"\nplant = "lock-{n}"' for n in range(1, LOCKS + 1)
    ]
    return "\n\n".join(tables) + "\n"


class Shore:
    """Simulator, agent, broker, ingest and page, for as long as its `with` block."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._stack = folder, ExitStack()

    def __enter__(self) -> "Shore":
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        folder = self.folder
        (folder / "page-bench.toml").write_text(scenario())
        epoch_ns = time.time_ns()
        told = {"epoch_ns": epoch_ns, "speed": 1.0, "origin_monotonic_ns": time.monotonic_ns()}
        clock = folder / "clock.json"
        clock.write_text(json.dumps(told))
        base = free_ports(32)
        names = [sys.executable, "-m", "firmware_sim.cli"]
        self._run(
            [*names, "run", str(folder / "page-bench.toml"), "--sim-clock", str(clock), "--port-base", str(base)]
        )
        site = subprocess.run(
            [*names, "site", str(folder / "page-bench.toml"), "--port-base", str(base)],
            capture_output=True, text=True, check=True, timeout=COMMAND_S,
        ).stdout  # fmt: skip
        broker = self._stack.enter_context(Mosquitto(folder))
        (folder / "site.toml").write_text(site.replace("[broker]\n", f"[broker]\nport = {broker.port}\n", 1))
        shore = folder / "shore.toml"
        shore.write_text(f'schema = 1\n[store]\nurl = "sqlite:store.db"\n[broker]\nport = {broker.port}\n')
        self._run(["python", "-m", "gateway.ingest_cli", "--shore", str(shore)])
        self.agent = self._run(
            ["python", "-m", "edge.cli", "run", "--site", str(folder / "site.toml"), "--sim-clock", str(clock)]
        )
        user = [sys.executable, "-m", "gateway.cli", "user"]
        told_user = {"input": PASSWORD + "\n", "text": True, "check": True, "capture_output": True}
        subprocess.run(
            [*user, "add", "anne", "--role", "admin", "--shore", str(shore), "--password-stdin"],
            timeout=COMMAND_S,
            **told_user,
        )  # type: ignore[call-overload]
        self.token = subprocess.run(
            [*user, "token", "anne", "--shore", str(shore)],
            capture_output=True, text=True, check=True, timeout=COMMAND_S,
        ).stdout.split()[-1]  # fmt: skip
        page = ["python", "-m", "gateway.cli", "serve", "--shore", str(shore), "--port", "0"]
        self.page = self._run([*page, "--sim-clock", str(clock)])
        self.port = int(json.loads(self.page.ready_line[5:])["port"])

    def _run(self, command: list[str]) -> Process:
        return self._stack.enter_context(Process(command, timeout_s=COMMAND_S))


class Listener:
    """A client of the stream that reads and forgets, as cheap as can be: the machine is the server's."""

    def __init__(self, port: int, token: str) -> None:
        self.taken = 0
        self._line = socket.create_connection(("127.0.0.1", port), 10.0)
        self._line.sendall(
            f"GET /api/1/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while part := self._line.recv(1 << 20):
                self.taken += len(part)
        except OSError:  # closed, or silent for longer than a sign of life
            return

    def close(self) -> None:
        self._line.close()
        self._thread.join(15.0)
