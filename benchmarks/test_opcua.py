"""What a value costs over OPC UA: subscribed with deadband, polled in batches, and with a read per node.

200 nodes, twice a second, of which a tenth moves in between; the others tremble within the deadband. Client and
server in processes of their own on loopback; each way runs against the same server, one after the other.
"""

import json
from pathlib import Path

from processes import Process
from pytest_benchmark.fixture import BenchmarkFixture

NODES, MEASURE_S = 200, 10.0
WAYS = {"subscribe": "subscription, deadband", "poll": "polled in batches", "bare": "bare asyncua, a read a node"}
READER = str(Path(__file__).resolve().parent / "opcua_reader.py")


def test_what_a_value_costs(benchmark: BenchmarkFixture) -> None:
    figures: dict[str, tuple[float, float, int]] = {}

    def measure() -> None:
        with Process(["python", READER, "serve", str(NODES)]) as server:
            url = server.ready_line.split()[1]
            for way in WAYS:
                with Process(["python", READER, way, url, str(NODES), str(MEASURE_S)], ready="read") as reader:
                    read = json.loads(reader.ready_line[5:])
                    figures[way] = 1e6 * read["cpu_s"] / read["values"], read["mb"], read["values"]

    benchmark.pedantic(measure, rounds=1)
    cost = figures["bare"][0]
    print(f"\n{'':30s}{'us CPU/value':>13s}{'ratio':>8s}{'MB':>6s}{'values':>8s}")
    for way, (us, megabytes, values) in figures.items():
        print(f"{WAYS[way]:30s}{us:13.1f}{us / cost:8.2f}{megabytes:6.0f}{values:8d}")
    benchmark.extra_info.update({way: list(found) for way, found in figures.items()})
    wanted = NODES * MEASURE_S / 0.5
    assert figures["subscribe"][2] >= 0.8 * wanted and figures["poll"][2] >= 0.8 * wanted, "every scan is whole"
