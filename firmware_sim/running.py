"""Which simulators run on this machine, so that `bollard sim fault` finds its one."""

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DEADLINE_S = 10.0  # a switch is answered once it has come about


class NotRunningError(RuntimeError):
    """No simulator, or not one alone, or it does not answer. Says which, and what to give."""


@dataclass(frozen=True)
class Running:
    """A simulator that listens. Without a scenario's name it was not announced: only its port is known."""

    control: int
    pid: int = 0
    scenario: str = ""

    def __str__(self) -> str:
        return f"{self.scenario}, process {self.pid}" if self.scenario else f"control port {self.control}"


def _folder() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "bollard-sim" if base else Path(tempfile.gettempdir()) / f"bollard-sim-{os.getuid()}"


@contextlib.contextmanager
def announced(control: int, scenario: str) -> Iterator[None]:
    """While the block runs, others find this process. Where that cannot be written, they have to be told."""
    path = _folder() / f"{os.getpid()}.json"
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(json.dumps({"control": control, "scenario": scenario}), encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def running() -> list[Running]:
    """Simulators that were announced and are alive; what the dead have left is removed."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            pid = int(path.stem)
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                path.unlink(missing_ok=True)
                continue
            data = json.loads(path.read_text(encoding="utf-8"))
            found.append(Running(int(data["control"]), pid, str(data["scenario"])))
    return found


def simulator(control: int | None) -> Running:
    """The one with this control port, or the only one that runs. Raises: NotRunningError."""
    found = running()
    if control is not None:
        return next((one for one in found if one.control == control), Running(control))
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotRunningError("no simulator runs here; start one with: bollard sim run SCENARIO")
    each = ", ".join(f"{one.control} ({one.scenario}, process {one.pid})" for one in found)
    raise NotRunningError(f"{len(found)} simulators run here; give --control-port, one of {each}")


def ask(port: int, request: Any) -> dict[str, Any]:
    """One request to a control port. Raises: NotRunningError."""
    try:
        with socket.create_connection(("127.0.0.1", port), _DEADLINE_S) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answer:
                line = answer.readline()
        found = json.loads(line)
    except OSError as error:
        raise NotRunningError(f"127.0.0.1:{port}: {error.strerror or error}; is it a control port?") from error
    except ValueError as error:
        raise NotRunningError(f"127.0.0.1:{port}: {line[:60]!r} is no answer; is it a control port?") from error
    if not isinstance(found, dict):
        raise NotRunningError(f"127.0.0.1:{port}: {line[:60]!r} is no answer; is it a control port?")
    return found
