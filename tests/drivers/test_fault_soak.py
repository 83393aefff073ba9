"""Random faults on twenty devices in real time: two minutes here, half an hour in `make nightly`.

No device without a fault may miss more than one scan in a row; one with a fault is healthy within three attempts
after its end; and no value of good quality is ever one that the device did not serve.
"""

import asyncio
import os
import random
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from fault_bench import FaultBench, Place, Watched, fault_bench, is_healthy

from firmware_sim.fault_kinds import KINDS, OPCUA, SERIAL, TCP, FaultKind

SOAK_S = float(os.environ.get("BOLLARD_SOAK_S", "120"))
PERIOD_S = 1.0
MOST_TRIES = 3  # after a fault's end, the healthy one included
NS = 10**9
PLACES = (
    [Place(f"tcp-{i}", "lock" if i % 2 else "meter", "tcp") for i in range(1, 9)]
    + [Place(f"gateway-{i}", "lock", "tcp", "gateway", i) for i in range(1, 4)]  # three units behind one
    + [Place("far-1", "meter", "rtu-over-tcp"), Place("far-2", "lock", "rtu-over-tcp")]
    + [Place(f"line-{n}-{i}", "meter", "rtu", f"line-{n}", i) for n in (1, 2) for i in (1, 2)]
    + [Place(f"ua-{i}", "lock", "opcua") for i in (1, 2, 3)]
)
PROTOCOL = {"tcp": TCP, "rtu": SERIAL, "rtu-over-tcp": "modbus-rtu-over-tcp", "opcua": OPCUA}
# what only plausibility can tell from the truth; what stays after the fault; what nothing on the wire shows
LEFT_OUT = {"stuck", "spike", "swapped-words"} | {k.name for k in KINDS.values() if k.scope == "plant"}
OF_THE_CONNECTION = {  # what hits every unit on it
    "refuse-connections", "reset-connections", "slow-bytes", "half-frame", "garbage", "second-master",
}  # fmt: skip


def fitting(place: Place) -> list[FaultKind]:
    return [
        kind
        for kind in KINDS.values()
        if kind.name not in LEFT_OUT
        and PROTOCOL[place.transport] in kind.protocols
        and (kind.name != "nan" or place.kind == "meter")
        and kind.name != "sentinel"
    ]


@dataclass
class Told:
    """What the soak found."""

    faults: int = 0
    rows: int = 0
    tries: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


async def trouble(bench: FaultBench, mates: list[Watched], told: Told, seed: int, end_s: float) -> None:
    """Fault after fault on the devices that share a connection, with rests between them."""
    draw = random.Random(seed)
    loop = asyncio.get_running_loop()
    while loop.time() < end_s:
        await quiet(bench, mates, told, draw.uniform(3.0, 8.0))
        hit = draw.choice(mates)
        kind = draw.choice(fitting(hit.place))
        first = {mate.place.name: len(mate.rows) for mate in mates}
        await bench.switch(kind.name, hit.place.name, True)
        await asyncio.sleep(draw.uniform(1.0, 6.0))
        await bench.switch(kind.name, hit.place.name, False)
        since, before = len(hit.rows), hit.counted()
        await bench.until(
            lambda hit=hit, since=since: hit.is_healthy(since, 1), f"{hit.place.name} after {kind.name}"
        )
        told.faults += 1
        told.tries.append(hit.tries_since(before))
        if told.tries[-1] > MOST_TRIES:
            told.complaints.append(f"{hit.place.name}: {told.tries[-1]} attempts after {kind.name} ended")
        for mate in mates:
            if mate is not hit and kind.name not in OF_THE_CONNECTION:
                told.complaints += [
                    f"{hole} ({kind.name} beside it)" for hole in holes(bench, mate, first[mate.place.name])
                ]
            n = len(mate.rows)
            await bench.until(lambda mate=mate, n=n: mate.is_healthy(n, 1), f"{mate.place.name} after {kind.name}")


async def quiet(bench: FaultBench, mates: list[Watched], told: Told, rest_s: float) -> None:
    """Without a fault on their connection, whatever happens elsewhere: at most one scan missed in a row."""
    starts = [len(mate.rows) for mate in mates]
    await asyncio.sleep(rest_s)
    for mate, start in zip(mates, starts, strict=True):
        told.complaints += holes(bench, mate, max(0, start - 1))


def holes(bench: FaultBench, watched: Watched, start: int) -> list[str]:
    """Where two scans in a row, or more, are missing, and the machine did not stand still meanwhile."""
    good = [t_ns for t_ns, row in watched.rows[start:] if is_healthy(row)]
    limit_ns = int(2.5 * PERIOD_S * NS)
    return [
        f"{watched.place.name}: nothing for {(b - a) / NS:.2f} s without a fault of its own"
        for a, b in pairwise(good)
        if b - a > limit_ns + bench.stalled_ns(a, b)
    ]


async def test_random_faults_stay_where_they_are(tmp_path: Path) -> None:
    told = Told()
    async with fault_bench(PLACES, tmp_path, PERIOD_S) as bench:
        watched = bench.watched
        await bench.until(lambda: all(w.is_healthy(0, 2) for w in watched.values()), "healthy at the start")
        end_s = asyncio.get_running_loop().time() + SOAK_S
        groups: dict[str, list[Watched]] = {}
        for each in watched.values():
            groups.setdefault(each.place.bus or each.place.name, []).append(each)
        await asyncio.gather(*(trouble(bench, mates, told, n, end_s) for n, mates in enumerate(groups.values())))
        for each in watched.values():
            told.rows += len(each.rows)
            told.complaints += [f"{each.place.name}: wrong and good: {wrong}" for wrong in each.wrong]
    print(f"{told.faults} faults on {len(PLACES)} devices, {told.rows} rows, most attempts {max(told.tries)}")
    assert not told.complaints, "\n".join(told.complaints)
    assert told.faults > SOAK_S / 4
