"""`bollard demo`: the whole way on one machine, from a PLC's register to the monthly report.

Starts the simulator, the edge agent and the shore side as processes of their own, shows what they do, restarts
one that dies (as systemd would), and at the end compares what arrived with what the simulated plant knows.
This is the only module that opens the simulator's control port; no product code does.
"""

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from gateway.demo_files import GATEWAY, SITE, DemoOptions, broker_of, shore_toml, site_toml
from gateway.store import open_store

EPOCH_NS = 1_791_957_600_000_000_000  # 2026-10-14 06:00 UTC: the demo's fictitious day
LEAD_S = 0.3  # real seconds between "all are ready" and the start of the simulated time
PR_SET_PDEATHSIG = 1


class DemoError(Exception):
    """The demo cannot go on. One sentence; `code` is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Child:
    """A process of the demo; started again if it dies before its time."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        self.starts += 1
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent, start_new_session=True,
            )  # fmt: skip

    def ready(self, timeout_s: float) -> str:
        """The rest of its `ready` line. Raises: DemoError with the end of its log."""
        assert self.process is not None and self.process.stdout is not None
        end_s = time.monotonic() + timeout_s
        said = b""
        while time.monotonic() < end_s:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                said += os.read(self.process.stdout.fileno(), 65_536)
            for line in said.decode().splitlines(keepends=True):
                if line.startswith("ready") and line.endswith("\n"):
                    return line[5:].strip()
            code = self.process.poll()
            if code is not None:
                raise DemoError(f"{self.name} ended with {code}:\n{self.tail()}", code if code in (2, 4) else 1)
        raise DemoError(f"{self.name} was not ready after {timeout_s:.0f} s:\n{self.tail()}", 1)

    def tail(self) -> str:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return "\n".join(lines[-8:]) or "(it said nothing)"

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self, timeout_s: float) -> int | None:
        """SIGTERM, then SIGKILL after `timeout_s`. Its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


def _die_with_parent() -> None:
    """In the child: SIGTERM when the demo is gone, however it went."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Control:
    """The simulator's control port: one JSON object a line."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10.0)
        self._stream = self._socket.makefile("rw")

    def ask(self, **request: Any) -> dict[str, Any]:
        self._stream.write(json.dumps(request) + "\n")
        self._stream.flush()
        answer = self._stream.readline()
        if not answer:
            raise DemoError("the simulator is gone; it is the plant itself: start the demo again", 1)
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise DemoError(f"the simulator answers: {found['error']}", 1)
        return found

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


@dataclass
class Demo:
    """The running system. Use as a context: all processes end with the block."""

    options: DemoOptions
    out: Path
    children: dict[str, Child] = field(default_factory=dict)
    control: Control | None = None
    broker_port: int = 0
    restarts: list[str] = field(default_factory=list)
    _lock: IO[str] | None = None
    berth: dict[str, Any] = field(default_factory=dict)  # what the simulator says of its recording and pack

    def __enter__(self) -> "Demo":
        return self

    def start(self, say: Any) -> None:
        """Bring everything up with simulated time standing still, then let it run."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._lock = self.out.joinpath("lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"{self.out}: another demo runs here; wait for it, or give --out") from error
        self._check_servers()
        for ours in ("spool.db", "store.db", "book.db", "sim.log", "shore.log", "edge.log", f"report-{SITE}-"):
            for stale in self.out.glob(f"{ours}*"):  # of an earlier run
                stale.unlink()
        self._write_clock(None)
        say("kernels: compiling if they are not in the cache")
        warmed = subprocess.run(_python("edge.cli", "warm"), capture_output=True, text=True, check=False)
        if warmed.returncode:
            raise DemoError(f"the kernels do not compile:\n{warmed.stderr[-2000:]}", 1)
        say("simulator: charger, meter, ferry battery and lock on loopback sockets")
        sim = self._child("sim", self._sim_command())
        sim.start()
        try:
            serving = json.loads(sim.ready(60.0))
        except DemoError as error:
            if error.code in (2, 4):  # it has said in full sentences what is wrong: those are ours
                raise DemoError(sim.tail(), error.code) from error
            raise
        self.control = Control(serving["control"])
        if self.options.influx_url:
            self._check_bucket()
        say("shore: " + ("your broker" if self.options.broker else "embedded broker") + ", "
            + ("InfluxDB" if self.options.influx_url else "SQLite"))  # fmt: skip
        self.out.joinpath("shore.toml").write_text(shore_toml(self.options))
        shore = self._child("shore", _python("gateway.cli", "ingest", "--shore", str(self.out / "shore.toml")))
        shore.start()
        self.broker_port = int(json.loads(shore.ready(60.0))["port"])
        if not self.options.broker:  # a restarted shore has to come back on the same port
            self.out.joinpath("shore.toml").write_text(shore_toml(self.options, self.broker_port))
        self.berth = serving["berths"]["berth-1"]
        site = site_toml(self.options, serving["devices"], self.berth["pack"], self.broker_port)
        self.out.joinpath("site.toml").write_text(site)
        say("edge agent")
        edge = self._child(
            "edge",
            _python(
                "edge.cli", "run", "--site", str(self.out / "site.toml"),
                "--sim-clock", str(self.out / "clock.json"),
            ),
        )  # fmt: skip
        edge.start()
        edge.ready(120.0)
        self._write_pids()
        self._write_clock(time.monotonic_ns() + int(LEAD_S * 1e9))

    def _check_servers(self) -> None:
        """Ask servers that others run whether they are there, before anything is started."""
        options = self.options
        servers = []
        if options.broker:
            servers.append((*broker_of(options, 0), "MQTT broker", "--broker"))
        if options.influx_url:
            parts = urlsplit(options.influx_url)
            servers.append((parts.hostname or "127.0.0.1", parts.port or 8086, "InfluxDB", "--influx"))
        for host, port, what, option in servers:
            try:
                socket.create_connection((host, port), timeout=5.0).close()
            except OSError as error:
                why = error.strerror or str(error)
                raise DemoError(
                    f"{host}:{port}: no {what} answers ({why}); start it, or leave {option} out", 4
                ) from error

    def _check_bucket(self) -> None:
        """The demo's day is always the same: rows of an earlier run would stand among the new ones."""
        options = self.options
        address = f"influx:{options.influx_url}?org={options.influx_org}&bucket={options.influx_bucket}"
        store = open_store(address, token=options.influx_token)
        try:
            rows = store.count(SITE, GATEWAY)
        finally:
            store.close()
        if rows:
            raise DemoError(
                f"bucket {options.influx_bucket!r} holds {rows} rows of {SITE} already; give another with --bucket"
            )

    def _child(self, name: str, command: list[str]) -> Child:
        self.children[name] = Child(name, command, self.out / f"{name}.log")
        return self.children[name]

    def _sim_command(self) -> list[str]:
        options = self.options
        command = _python(
            "firmware_sim.cli", "run", "demo-port", "--sim-clock", str(self.out / "clock.json"),
            "--port-base", "0", "--control-port", "0", "--parent-pid", str(os.getpid()),
        )  # fmt: skip
        for flag, value in (
            ("--recording", options.recording), ("--columns", options.columns), ("--span", options.span_s),
        ):  # fmt: skip
            if value is not None:
                command += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
        return command

    def _write_clock(self, origin_ns: int | None) -> None:
        text = json.dumps({"epoch_ns": EPOCH_NS, "speed": self.options.speed, "origin_monotonic_ns": origin_ns})
        self._write_whole("clock.json", text)

    def _write_pids(self) -> None:
        pids = {name: child.process.pid for name, child in self.children.items() if child.process is not None}
        self._write_whole("pids.json", json.dumps(pids))

    def _write_whole(self, name: str, text: str) -> None:
        """Replace a file at once: readers never see half of it."""
        part = self.out / f"{name}.part"
        part.write_text(text)
        part.rename(self.out / name)

    def watch(self) -> None:
        """Start again what has died. Raises: DemoError if the simulator has, or one dies again and again."""
        for name, child in self.children.items():
            if child.alive():
                continue
            if name == "sim":
                raise DemoError(
                    f"the simulator died; it is the plant itself: start the demo again. Its log:\n{child.tail()}",
                    1,
                )
            if child.starts > 20:
                raise DemoError(f"{name} dies again and again; {child.log} says:\n{child.tail()}", 1)
            code = child.process.returncode if child.process else None
            self.restarts.append(f"{name} ended with {code} and was started again")
            child.start()
            self._write_pids()

    def finish_edge(self) -> None:
        """Let the edge send what it has, then stop it."""
        self.children["edge"].end(45.0)

    def __exit__(self, *_: object) -> None:
        if self.control is not None:
            self.control.close()
        for name in ("edge", "shore", "sim"):
            if name in self.children:
                self.children[name].end(10.0)
        if self._lock is not None:
            self._lock.close()


def _python(module: str, *args: str) -> list[str]:
    return [sys.executable, "-m", module, *args]
