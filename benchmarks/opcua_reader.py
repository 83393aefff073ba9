"""One side of test_opcua.py in a process of its own, so that its cost is nobody else's.

    opcua_reader.py serve NODES             a server whose values tremble, and of which a tenth moves every 0.5 s
    opcua_reader.py WAY URL NODES SECONDS   reads all of them twice a second: subscribe, poll or bare

A reader prints `read {json}` with its CPU time, memory and what it got; a server prints `ready URL`.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable

from asyncua import Client, Server, ua

from drivers.opcua import OpcUaDevice
from drivers.opcua_settings import OpcUaSettings
from drivers.profile import Profile

EVERY_S, SETTLE_S = 0.5, 3.0
DEADBAND, TREMBLE = 0.1, 0.01


async def serve(nodes: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/bench")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:bench")
    made = [await server.nodes.objects.add_variable(ua.NodeId(f"n{i}", 2), f"n{i}", 0.0) for i in range(nodes)]
    await server.start()
    print(f"ready opc.tcp://127.0.0.1:{server.bserver._server.sockets[0].getsockname()[1]}/bench", flush=True)
    turn = 0
    while True:
        turn += 1
        for i, node in enumerate(made):
            value = (turn + 9 - i % 10) // 10 + TREMBLE * (turn % 2)  # a tenth moves by 1
            await server.write_attribute_value(node.nodeid, ua.DataValue(ua.Variant(value, ua.VariantType.Double)))
        await asyncio.sleep(EVERY_S)


async def through_us(url: str, nodes: int, subscribe: bool, run: "Run") -> None:
    points = [
        {"name": f"n{i}", "type": "float64", "node": f"ns=2;s=n{i}", "deadband": DEADBAND} for i in range(nodes)
    ]
    head = {"schema": 1, "kind": "meter", "model": "bench", "source": "bench", "protocol": "opcua"}
    profile = Profile.model_validate(head | {"point": points})
    settings = OpcUaSettings(subscribe=subscribe, publishing_s=EVERY_S / 2)
    async with OpcUaDevice(profile, url, 4.0, settings).open() as link:

        async def scan() -> int:
            row = await link.scan("live", time.time_ns)
            return int((row.quality == 0).sum())

        await run(scan)


async def bare(url: str, nodes: int, run: "Run") -> None:
    """What one writes in an afternoon: one read for each node."""
    async with Client(url) as client:
        found = [client.get_node(f"ns=2;s=n{i}") for i in range(nodes)]

        async def scan() -> int:
            return len([await node.read_value() for node in found])

        await run(scan)


Run = Callable[[Callable[[], Awaitable[int]]], Awaitable[None]]


def timed(seconds: float) -> Run:
    async def run(scan: Callable[[], Awaitable[int]]) -> None:
        got, started_s, cpu_s = 0, 0.0, 0.0
        begin_s = time.monotonic()
        while time.monotonic() - begin_s < SETTLE_S + seconds:
            if not started_s and time.monotonic() - begin_s >= SETTLE_S:
                got, started_s, cpu_s = 0, time.monotonic(), time.process_time()
            got += await scan()
            await asyncio.sleep(EVERY_S - (time.monotonic() - begin_s) % EVERY_S)
        spent_s = time.process_time() - cpu_s
        with open("/proc/self/statm") as statm:  # noqa: ASYNC230 - a few bytes that the kernel has
            rss = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        print("read " + json.dumps({"values": got, "cpu_s": spent_s, "mb": rss / 1e6}), flush=True)

    return run


way = sys.argv[1]
if way == "serve":
    asyncio.run(serve(int(sys.argv[2])))
else:
    address, count, run = sys.argv[2], int(sys.argv[3]), timed(float(sys.argv[4]))
    asyncio.run(
        bare(address, count, run) if way == "bare" else through_us(address, count, way == "subscribe", run)
    )
