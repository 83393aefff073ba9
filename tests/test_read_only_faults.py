"""What goes over the wire while one fault after another is switched: requests that read, and nothing else.

Every device is reached through a tap: over Modbus TCP, RTU over TCP and on a serial line, and over OPC UA, polled
and subscribed. All faults that can be told on the wire come about in one run.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from fault_bench import Address, FaultBench, Place, fault_bench
from tap import LineTap, Tap, modbus_functions, opcua_services, rtu_functions
from test_read_only import CHANNEL_AND_SESSION, DISCOVERY_AND_READING, READING

from firmware_sim.fault_kinds import KINDS, OPCUA, RTU_OVER_TCP, SERIAL, TCP

PROTOCOL = {"tcp": TCP, "rtu-over-tcp": RTU_OVER_TCP, "rtu": SERIAL, "opcua": OPCUA}
LANES = {"tcp": 4, "rtu-over-tcp": 3, "rtu": 4, "opcua": 2}  # devices side by side, so that it does not take long
PERIOD_S = 0.2


def places() -> list[Place]:
    found = [
        Place(f"{transport}-{i}", "lock", transport, f"{transport}-{i}" if transport == "rtu" else "")
        for transport, count in LANES.items()
        if transport != "opcua"
        for i in range(count)
    ]
    # the bench subscribes to locks and polls the others
    return [
        *found,
        Place("opcua-0", "lock", "opcua", history="gate_up_state"),
        Place("opcua-1", "charger", "opcua", history="power_w"),
    ]


def faults_of(place: Place) -> list[str]:
    """Its share of the faults that fit: both OPC UA devices get all, the others share them out."""
    kinds = [kind for kind in KINDS.values() if PROTOCOL[place.transport] in kind.protocols]
    names = [kind.name for kind in kinds if kind.scope in ("transport", "opcua")]
    if place.transport == "opcua":
        return names
    return names[int(place.name.rsplit("-", 1)[1]) :: LANES[place.transport]]


async def trouble(bench: FaultBench, place: Place) -> None:
    """Each fault until it was met twice; the next once the device is healthy again."""
    watched = bench.watched[place.name]
    for name in faults_of(place):
        await bench.until(lambda: watched.is_healthy(len(watched.rows) - 2, 2), f"{place.name} before {name}")
        before = watched.counted()
        await bench.switch(name, place.name, True)
        await bench.until(lambda before=before: watched.tries_since(before) >= 2, f"{place.name} meets {name}")
        if (name, place.kind) == ("silent-subscription", "lock"):
            await bench.until(
                lambda: watched.take_faults()["silent_subscription"] > 0, "the subscription is given up"
            )
        rows = len(watched.rows)
        await bench.switch(name, place.name, False)
        await bench.until(lambda rows=rows: watched.is_healthy(rows, 1), f"{place.name} after {name}")


async def run_tapped(folder: Path, taps: contextlib.ExitStack) -> dict[str, Sequence[bytes]]:
    """What each device was sent, as streams of bytes."""
    streams: dict[str, Sequence[bytes]] = {}

    def through(place: Place, address: Address) -> Address:
        tap = taps.enter_context(LineTap(address["path"]) if place.transport == "rtu" else Tap(address["port"]))
        streams[place.name] = tap.streams
        if isinstance(tap, LineTap):
            return {**address, "path": tap.path}
        if place.transport == "opcua":
            return {**address, "url": address["url"].replace(str(address["port"]), str(tap.port))}
        return {**address, "port": tap.port}

    async with fault_bench(places(), folder, PERIOD_S, through) as bench:
        await asyncio.gather(*(trouble(bench, place) for place in places()))
        return {name: [bytes(stream) for stream in each] for name, each in streams.items()}


def test_a_run_full_of_faults_sends_only_requests_that_read(tmp_path: Path) -> None:
    with contextlib.ExitStack() as taps:
        streams = asyncio.run(run_tapped(tmp_path, taps))
    for place in places():
        heard = streams[place.name]
        if place.transport == "opcua":
            services = [name for stream in heard for name in opcua_services(stream)]
            assert set(services) <= CHANNEL_AND_SESSION | DISCOVERY_AND_READING, place.name
            assert services.count("ReadRequest") > 20, place.name
            assert "HistoryReadRequest" in services, f"{place.name}: the gaps' history is asked for"
            assert ("PublishRequest" in services) == (place.kind == "lock"), place.name
            continue
        functions_in = modbus_functions if place.transport == "tcp" else rtu_functions
        functions = [code for stream in heard for code in functions_in(stream)]
        assert len(functions) > 20, f"{place.name}: {len(functions)} requests heard"
        assert set(functions) <= READING, place.name
