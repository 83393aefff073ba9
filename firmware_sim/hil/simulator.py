"""The simulator as a target: its process, its clock, its control port. Makes `plant` and `fault`."""

import json
import socket
import time
from pathlib import Path
from typing import Any, Self

from firmware_sim.clock import SimClock
from firmware_sim.hil.children import Child
from firmware_sim.hil.plc import Clock
from firmware_sim.hil.settings import Settings, Target, UnreachableError


class SimulatedClock(Clock):
    """The simulator's time, by the file that all processes of the run share."""

    def __init__(self, file: Path, speed: float) -> None:
        super().__init__()
        self.file = file
        self.speed = speed
        self._clock = SimClock.from_file(file)

    def now_ns(self) -> int:
        return self._clock.now_ns()


class Plant:
    """What only the simulator knows: `truth()`, `state()`, and any other request of the control port."""

    def __init__(self, port: int, device: str) -> None:
        self.device = device
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10.0)
        self._file = self._socket.makefile("rwb")

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request, one answer. Raises: ValueError with the simulator's own sentence."""
        self._file.write(json.dumps(request).encode() + b"\n")
        self._file.flush()
        answer: dict[str, Any] = json.loads(self._file.readline())
        if "error" in answer:
            raise ValueError(str(answer["error"]))
        return answer

    def truth(self) -> dict[str, Any]:
        return self.ask(get="truth")

    def state(self) -> dict[str, Any]:
        """The device's values before encoding."""
        values: dict[str, Any] = self.ask(get="state")["devices"][self.device]
        return values

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class FaultSwitch:
    """Switches faults of the tested device; `all_off` ends those switched on here."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._on: list[str] = []

    def on(self, name: str, **options: float | str) -> None:
        """Raises: ValueError with the simulator's own sentence."""
        self._plant.ask(fault=name, on=True, device=self._plant.device, options=options)
        self._on.append(name)

    def off(self, name: str) -> None:
        self._plant.ask(fault=name, on=False, device=self._plant.device)
        self._on = [other for other in self._on if other != name]

    def all_off(self) -> None:
        for name in list(self._on):
            self.off(name)


class Simulator:
    """A scenario in a process of its own, for as long as its `with` block. Time stands until `start`.

    Raises: UnreachableError.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._clock_file = folder / "clock.json"
        self._write_clock(None)
        args = ["run", settings.scenario, "--sim-clock", str(self._clock_file)]
        self._child = Child("firmware_sim.cli", *args)

    def _write_clock(self, origin_ns: int | None) -> None:
        data = {
            "epoch_ns": self._settings.epoch_ns,
            "speed": self._settings.speed,
            "origin_monotonic_ns": origin_ns,
        }
        part = self._clock_file.with_suffix(".part")
        part.write_text(json.dumps(data))
        part.replace(self._clock_file)

    def __enter__(self) -> Self:
        self._child.__enter__()
        try:
            ready = json.loads(self._child.ready_line)
            self.target = target_of(ready["devices"], self._settings)
            self.plant = Plant(ready["control"], self._settings.device)
        except BaseException:
            self._child.__exit__()
            raise
        self.fault = FaultSwitch(self.plant)
        return self

    def start(self) -> SimulatedClock:
        """Let time run."""
        self._write_clock(time.monotonic_ns())
        return SimulatedClock(self._clock_file, self._settings.speed)

    def __exit__(self, *_: object) -> None:
        self.plant.close()
        self._child.__exit__()


def target_of(devices: dict[str, Any], settings: Settings) -> Target:
    """The tested device's address, as the ready line tells it."""
    at = devices.get(settings.device)
    if at is None:
        raise UnreachableError(f"the simulator serves {', '.join(devices)}, not {settings.device}")
    if "url" in at:
        return Target("sim", True, url=at["url"])
    if "port" not in at:
        raise UnreachableError(f"{settings.device} is on {at}; the drivers read Modbus TCP and OPC UA only")
    return Target("sim", True, host=at["host"], port=at["port"], unit_id=at["unit_id"])
