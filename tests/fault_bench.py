"""Devices under faults: simulated PLCs on real sockets and lines, pollers that read them, and the truth beside it.

Used by the fault table (`tests/drivers/test_fault_table.py`) and by the hours of random faults
(`tests/drivers/test_fault_soak.py`).
"""

import asyncio
import contextlib
import json
import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from drivers.bus import Buses
from drivers.profile import Point, Profile, load_profile
from drivers.row import Quality, Row
from edge.clock import WallClock
from edge.config import DeviceConfig
from edge.poll import LinkCounts, Poller
from firmware_sim.bench import Bench
from firmware_sim.clock import SimClock
from firmware_sim.encode import Values
from firmware_sim.scenario import load_scenario
from firmware_sim.serve import Ports, serving

NS = 10**9
SCENARIO = """
schema = 1
name = "faults"
start = 2027-06-01T00:00:00Z
[[point]]
name = "point-1"
limit_w = 70_000_000
[[ship]]
name = "AURELIE"
[[berth]]
name = "berth-1"
point = "point-1"
call = [{ ship = "AURELIE", arrive = "00:02", depart = "23:40" }]
"""
LOCK = (
    '[[lock]]\nname = "{name}"\npreset = "fall-4.0"\n'  # each device its own: faults of the first act on a plant
)
PLANTS = {"meter": "point-1", "charger": "berth-1", "battery": "berth-1"}
MODBUS_PROFILES = {"meter": "meter-float32.toml", "charger": "generic-charger", "lock": "generic-lock"}
BAUD = 115_200
TIMEOUT_S = 0.5
Address = Mapping[str, Any]  # where the simulator serves a device, as its ready line says
REFRESHED_NS = 3 * NS  # an OPC UA server of the simulator sets its values twice a second; a busy machine later


@dataclass(frozen=True)
class Place:
    """A device of the bench. Those with the same `bus` share a port or a line."""

    name: str
    kind: str
    transport: str  # tcp, rtu-over-tcp, rtu or opcua
    bus: str = ""
    unit_id: int = 1
    history: str = ""  # OPC UA: the point of which the server keeps a history


@dataclass
class Watched:
    """What a poller made of a device, and what the device really served."""

    place: Place
    profile: Profile
    poller: Any
    served: "Served"
    rows: list[tuple[int, Row]] = field(default_factory=list)  # with the monotonic time of its arrival [ns]
    wrong: list[str] = field(default_factory=list)
    _before: Counter[str] = field(default_factory=Counter)  # what the poller had counted when it was asked last

    def take(self, _: str, row: Row) -> None:
        now_ns = time.monotonic_ns()
        since_ns = self.rows[-1][0] if self.rows else 0
        if self.place.transport == "opcua":
            since_ns -= REFRESHED_NS
        if row.scan == "live":
            self.wrong += wrong_values(self.profile, row, self.served.since(since_ns))
            self.rows.append((now_ns, row))

    def take_faults(self) -> Counter[str]:
        """What the link counted since the last call."""
        self._before = self.counted() - Counter(live=len(self.rows))
        counts = self.poller.take_counts()
        return Counter(counts.faults) + Counter(unreachable=counts.unreachable)

    def counted(self) -> Counter[str]:
        """All requests, live rows and failures so far."""
        counts: LinkCounts = self.poller.counts
        now = Counter(requests=counts.requests, unreachable=counts.unreachable)
        return self._before + now + Counter(live=len(self.rows))

    def tries_since(self, before: Counter[str]) -> int:
        """Live scans that asked something, and failures, since `counted`; a loss is a row and a failure."""
        new = self.counted()
        new.subtract(before)
        return min(new["requests"], new["live"]) + new["unreachable"]

    def is_healthy(self, since: int, rows: int = 2) -> bool:
        """Whether the last rows since a number of them have no value that is worse than uncertain."""
        last = [row for _, row in self.rows[max(since, len(self.rows) - rows) :]]
        return len(last) >= rows and all(is_healthy(row) for row in last)


def is_healthy(row: Row) -> bool:
    return bool(np.all((row.quality <= Quality.UNPROVEN) | (row.quality == Quality.NOT_SCANNED)))


def wrong_values(profile: Profile, row: Row, served: Sequence[Values]) -> list[str]:
    """Values of good quality that the device did not serve since the row before."""
    found = []
    for i, point in enumerate(profile.points):
        if row.quality[i] != Quality.GOOD:
            continue
        if not any(agrees(point, row.values[i], row.text.get(i), values.get(point.name)) for values in served):
            known = sorted({str(values.get(point.name)) for values in served})
            found.append(f"{point.name} = {row.values[i]} {row.text.get(i, '')}, served {known[:5]}")
    return found


def agrees(point: Point, value: float, text: str | None, truth: object) -> bool:
    if point.type == "string":
        return text == str(truth or "")
    if truth is None:
        return value == 0.0  # a PLC without a sentinel has no other word for unknown
    assert isinstance(truth, int | float)
    step = abs(point.scale) if not point.type.startswith("float") else 1e-6 * abs(float(truth)) + 1e-9
    return math.isclose(value, float(truth), rel_tol=1e-6, abs_tol=1.001 * step)


def opcua_text(profile: Profile) -> str:
    """A profile with the same points as nodes."""
    lines = [
        "schema = 1", f'kind = "{profile.kind}"', f'model = "{profile.model}, as nodes"', 'protocol = "opcua"',
        'source = "the Modbus profile"',
    ]  # fmt: skip
    for point in profile.points:
        lines += [
            "[[point]]", f'name = "{point.name}"', f'node = "ns=2;s={profile.kind}.{point.name}"',
            f'type = "{point.type}"', f'scan = "{point.scan}"',
        ]  # fmt: skip
        if point.type == "string":
            lines.append(f"length = {point.length}")
        if point.invalid:
            lines.append(f"invalid = {list(point.invalid)}")
        if point.range is not None:
            lines.append(f"range = [{point.range[0]}, {point.range[1]}]")
    return "\n".join(lines)


def profile_of(place: Place, folder: Path) -> str:
    """Name or file of the profile that a device is served and read by."""
    modbus = MODBUS_PROFILES[place.kind]
    if modbus.endswith(".toml"):
        modbus = str(Path(__file__).parents[1] / "firmware_sim" / "profiles" / modbus)
    if place.transport != "opcua":
        return modbus
    file = folder / f"{place.kind}-opcua.toml"
    file.write_text(opcua_text(load_profile(modbus)))
    return str(file)


def scenario(places: Sequence[Place], folder: Path) -> Path:
    text = SCENARIO
    for place in places:
        if place.kind == "lock":
            text += LOCK.format(name=place.name)
        plant = PLANTS.get(place.kind, place.name)
        text += (
            f'[[device]]\nname = "{place.name}"\nplant = "{plant}"\nunit_id = {place.unit_id}\n'
            f'profile = "{profile_of(place, folder)}"\n'
        )
        if place.transport != "opcua":
            text += f'transport = "{place.transport}"\n'
        if place.transport == "rtu":
            text += f"baud = {BAUD}\n"
        if place.history:
            text += f'history = ["{place.history}"]\n'
        if place.bus:
            text += f'bus = "{place.bus}"\n'
    path = folder / "faults.toml"
    path.write_text(text)
    return path


class FaultBench:
    """The bench while it runs: its devices by name, and a switch for their faults."""

    def __init__(self, watched: Mapping[str, Watched], control: int, stalls: Sequence["Stalls"]) -> None:
        self.watched = watched
        self._control = control
        self._stalls = stalls

    def stalled_ns(self, first_ns: int, last_ns: int) -> int:
        """How long the readers' loop or the simulator's stood still between two instants."""
        return sum(stalls.within(first_ns, last_ns) for stalls in self._stalls)

    async def switch(self, name: str, device: str, on: bool, options: Mapping[str, object] | None = None) -> None:
        """Switch a fault; return when it has come about."""
        request = {"fault": name, "on": on, "device": device}
        if on and options:
            request["options"] = dict(options)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._control)
        writer.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await reader.readline())
        writer.close()
        assert "error" not in answer, answer

    async def until(self, holds: Callable[[], bool], what: str, within_s: float = 300.0) -> None:
        end_s = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < end_s, f"{what}: not within {within_s:g} s"
            await asyncio.sleep(0.02)


def device_config(place: Place, address: Address, profile: str, timeout_s: float, period_s: float) -> DeviceConfig:
    """The device as a site file would have it."""
    table: dict[str, Any] = {
        "name": place.name, "profile": profile, "interval_s": period_s, "timeout_s": timeout_s,
        "origin": "sim",
    }  # fmt: skip
    if place.transport == "opcua":
        table |= {"url": address["url"], "opcua": {"subscribe": place.kind == "lock"}}  # the others are polled
    else:
        table["unit_id"] = place.unit_id
        if place.transport == "rtu":
            table |= {
                "transport": "rtu", "serial": address["path"], "baud": BAUD, "parity": "N", "stop_bits": 2,
                "listen_s": 0.0,
            }  # fmt: skip
        else:
            table |= {"host": address["host"], "port": address["port"]}
            if place.transport != "tcp":
                table["transport"] = place.transport
    return DeviceConfig.model_validate(table)


class Served:
    """What a device had to say at each of its readings, the last of them; noted in the simulator's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[tuple[int, Values]] = deque(maxlen=400)

    def noting(self, values: Callable[[int], Values]) -> Callable[[int], Values]:
        """The same values, noted."""

        def noted(t_ns: int) -> Values:
            found = values(t_ns)
            with self._lock:
                self._last.append((time.monotonic_ns(), found))
            return found

        return noted

    def since(self, t_ns: int) -> list[Values]:
        with self._lock:
            return [values for noted_ns, values in self._last if noted_ns >= t_ns]


class Stalls:
    """When the machine held an event loop up: what a busy one does to a scan is no fault of the drivers."""

    STEP_S = 0.05

    def __init__(self) -> None:
        self._lags: list[tuple[int, int]] = []  # end and length [ns]

    async def watch(self) -> None:
        while True:
            before_ns = time.monotonic_ns()
            await asyncio.sleep(self.STEP_S)
            now_ns = time.monotonic_ns()
            lag_ns = now_ns - before_ns - int(self.STEP_S * NS)
            if lag_ns > int(self.STEP_S * NS):
                self._lags.append((now_ns, lag_ns))

    def within(self, first_ns: int, last_ns: int) -> int:
        """How long the loop stood still between two instants. [ns]"""
        return sum(max(0, min(end_ns, last_ns) - max(end_ns - lag_ns, first_ns)) for end_ns, lag_ns in self._lags)


class Simulator(threading.Thread):
    """The simulated PLCs, on a loop of their own: what they are busy with does not hold up who reads them."""

    def __init__(self, places: Sequence[Place], folder: Path) -> None:
        super().__init__(name="simulator", daemon=True)
        self._loaded = load_scenario(str(scenario(places, folder)))
        self.served = {place.name: Served() for place in places}
        self.ready: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stalls = Stalls()
        self._done = asyncio.Event()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        bench = Bench(self._loaded)
        for name, device in bench.devices.items():
            bench.devices[name] = replace(device, values=self.served[name].noting(device.values))
        clock = SimClock.started(int(self._loaded.scenario.start.timestamp()) * NS, 1.0)
        async with serving(bench, clock, Ports(), self._done) as ready:
            self.ready.put(ready)
            watching = asyncio.create_task(self.stalls.watch())
            await self._done.wait()
            watching.cancel()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self.join(60.0)
        assert not self.is_alive()


@contextlib.asynccontextmanager
async def fault_bench(
    places: Sequence[Place],
    folder: Path,
    period_s: float,
    through: Callable[[Place, Address], Address] | None = None,
) -> AsyncIterator[FaultBench]:
    """Serve the places, poll each of them, and note what they serve and what comes out.

    Args:
        through: The address at which a place is polled, from that at which it is served: that of a tap, say.
    """
    simulator = Simulator(places, folder)
    simulator.start()
    try:
        ready = await asyncio.to_thread(simulator.ready.get, timeout=300.0)
        buses = Buses()
        watched = {}
        for place in places:
            address = ready["devices"][place.name]
            address = through(place, address) if through else address
            served = simulator.served[place.name]
            watched[place.name] = _watched(place, address, folder, served, period_s, buses)
        stalls = Stalls()
        tasks = [asyncio.create_task(each.poller.run(), name=name) for name, each in watched.items()]
        tasks.append(asyncio.create_task(stalls.watch(), name="stalls"))
        try:
            yield FaultBench(watched, ready["control"], (stalls, simulator.stalls))
        finally:
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(ended, asyncio.CancelledError), ended
    finally:
        await asyncio.to_thread(simulator.end)


def _watched(
    place: Place, address: Address, folder: Path, served: "Served", period_s: float, buses: Buses
) -> Watched:
    name = profile_of(place, folder)
    profile = load_profile(name)
    timeout_s = 2.0 if place.transport == "opcua" else TIMEOUT_S
    watched = Watched(place, profile, None, served)
    config = device_config(place, address, name, timeout_s, period_s)
    watched.poller = Poller(config, profile, WallClock(), watched.take, buses)
    return watched
