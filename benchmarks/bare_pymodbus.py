"""What one writes in an afternoon: pymodbus, a request per tag, a JSON message per device. No disk, no quality.

The yardstick of test_agent.py. Prints `ready` once it polls; ends on SIGTERM.
"""

import asyncio
import json
import signal
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import AsyncModbusTcpClient

from drivers.profile import load_profile

TYPES = {"uint16": "UINT16", "int16": "INT16", "uint32": "UINT32", "int32": "INT32", "uint64": "UINT64",
         "int64": "INT64", "float32": "FLOAT32", "float64": "FLOAT64", "bool": "UINT16"}  # fmt: skip


async def poll(name: str, profile_name: str, port: int, broker: mqtt.Client) -> None:
    profile = load_profile(profile_name)
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    while True:
        values = {}
        for point in profile.points:
            if point.type == "string":
                continue
            reply = await client.read_holding_registers(point.address or 0, count=point.words)
            kind = getattr(client.DATATYPE, TYPES[point.type])
            values[point.name] = client.convert_from_registers(reply.registers, kind) * point.scale
        broker.publish(f"bare/{name}", json.dumps(values), qos=1)
        await asyncio.sleep(1.0)


async def main() -> None:
    devices = json.loads(sys.argv[1])  # [[name, profile, port], …]
    broker = mqtt.Client(CallbackAPIVersion.VERSION2)
    broker.connect("127.0.0.1", int(sys.argv[2]))
    broker.loop_start()
    tasks = [asyncio.create_task(poll(*device, broker)) for device in devices]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await stop.wait()
    for task in tasks:
        task.cancel()


asyncio.run(main())
