"""Each transport fault of Modbus TCP, as bytes on a socket."""

import asyncio
import errno
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from drivers.profile import Profile
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_server import ModbusServer
from firmware_sim.modbus_unit import ModbusUnit
from firmware_sim.value_faults import traits_of
from firmware_sim.wire_faults import WireFaults

Connect = Callable[[int], Awaitable[Any]]
PROFILE = Profile.model_validate(
    {
        "schema": 1, "kind": "meter", "model": "m", "source": "s",
        "point": [{"name": f"r{i}", "type": "uint16", "address": i} for i in range(20)],
    }
)  # fmt: skip
VALUES = {f"r{i}": 1000 + i for i in range(20)}
ASK = bytes.fromhex("03 0004 0002")  # registers 4 and 5
RIGHT = bytes.fromhex("03 04 03EC 03ED")
LONG_S = 30.0  # for what has to come, however busy the machine is


class Plc:
    """A server with two units of which the first has faults."""

    def __init__(self) -> None:
        traits = {name: traits_of(PROFILE, "modbus-tcp") for name in ("plc", "other")}
        self.board = FaultBoard(traits)
        self.units = {unit: ModbusUnit(PROFILE, lambda: VALUES) for unit in (1, 2)}
        faults = {
            unit: WireFaults(self.board, name, lambda: 0, seed=7) for unit, name in ((1, "plc"), (2, "other"))
        }
        self.server = ModbusServer(self.units, faults)
        self.port = 0

    def on(self, name: str, **options: float | str) -> None:
        self.board.on(name, "plc", **options)


@pytest.fixture
async def plc() -> AsyncIterator[Plc]:
    plc = Plc()
    plc.port = await plc.server.start("127.0.0.1", 0)
    yield plc
    await plc.server.stop()


def framed(pdu: bytes, transaction: int = 0x0A0B, unit: int = 1) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


async def said(client: Any, request: bytes, least: int = 1) -> bytes:
    """All bytes that come after a request: `least` of them, and what follows within a while."""
    client.writer.write(request)
    async with asyncio.timeout(LONG_S):
        came = bytes(await client.reader.readexactly(least))
    try:
        async with asyncio.timeout(0.05):
            while piece := await client.reader.read(1000):
                came += piece
    except TimeoutError:
        pass
    return came


async def test_without_a_fault_the_right_answer_comes(raw: Connect, plc: Plc) -> None:
    assert await said(await raw(plc.port), framed(ASK)) == framed(RIGHT)


async def test_silence_is_no_byte_and_an_open_connection(raw: Connect, plc: Plc) -> None:
    plc.on("silence")
    client = await raw(plc.port)
    assert await said(client, framed(ASK), 0) == b""
    assert not client.reader.at_eof()
    assert plc.units[1].requests == {3: 1}
    assert await said(client, framed(ASK, unit=2)) == framed(RIGHT, unit=2), "the other unit is not silent"
    plc.board.off("silence")
    assert await said(client, framed(ASK)) == framed(RIGHT)


async def test_refused_connections(raw: Connect, plc: Plc) -> None:
    client = await raw(plc.port)
    plc.on("refuse-connections")
    await plc.server.apply()
    async with asyncio.timeout(LONG_S):
        assert await client.reader.read() == b"", "the open one is dropped"
    with pytest.raises(OSError) as refused:
        await asyncio.open_connection("127.0.0.1", plc.port)
    assert refused.value.errno == errno.ECONNREFUSED
    plc.board.off("refuse-connections")
    await plc.server.apply()
    assert await said(await raw(plc.port), framed(ASK)) == framed(RIGHT)


async def test_a_reset_connection(raw: Connect, plc: Plc) -> None:
    plc.on("reset-connections")
    client = await raw(plc.port)
    client.writer.write(framed(ASK))
    async with asyncio.timeout(LONG_S):
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


async def test_an_answer_byte_by_byte(raw: Connect, plc: Plc) -> None:
    plc.on("slow-bytes", pause_s=0.005)
    client = await raw(plc.port)
    client.writer.write(framed(ASK) + framed(ASK, transaction=2))
    pieces, start_s = [], time.monotonic()
    async with asyncio.timeout(LONG_S):
        while sum(map(len, pieces)) < 2 * len(framed(RIGHT)):
            pieces.append(await client.reader.read(1000))
    assert b"".join(pieces) == framed(RIGHT) + framed(RIGHT, transaction=2), "no frame cuts into another"
    assert len(pieces) > 10
    assert time.monotonic() - start_s >= 24 * 0.005


@pytest.mark.parametrize("close", [0, 1])
async def test_half_a_frame(raw: Connect, plc: Plc, close: int) -> None:
    plc.on("half-frame", close=close)
    client = await raw(plc.port)
    assert await said(client, framed(ASK)) == framed(RIGHT)[:6]
    assert client.reader.at_eof() == bool(close)


async def test_garbage_instead_of_the_answer_and_before_it(raw: Connect, plc: Plc) -> None:
    plc.on("garbage", size=9)
    client = await raw(plc.port)
    noise = await said(client, framed(ASK))
    assert len(noise) == 9 and noise != framed(RIGHT)[:9]
    plc.on("garbage", size=9, then=1)
    noise = await said(client, framed(ASK))
    assert len(noise) == 9 + 13
    assert noise.endswith(framed(RIGHT))


async def test_another_unit_and_another_transaction(raw: Connect, plc: Plc) -> None:
    client = await raw(plc.port)
    plc.on("wrong-unit", by=4)
    assert await said(client, framed(ASK)) == framed(RIGHT, unit=5)
    plc.board.off("wrong-unit")
    plc.on("wrong-transaction", by=2)
    assert await said(client, framed(ASK)) == framed(RIGHT, transaction=0x0A0D)


async def test_an_answer_that_comes_after_the_next_request(raw: Connect, plc: Plc) -> None:
    plc.on("late-answer", delay_s=0.15)
    client = await raw(plc.port)
    start_s = time.monotonic()
    assert await said(client, framed(ASK, transaction=1), 0) == b""
    plc.board.off("late-answer")
    assert await said(client, framed(ASK, transaction=2)) == framed(RIGHT, transaction=2)
    assert await client.frame() == framed(RIGHT, transaction=1)
    assert time.monotonic() - start_s >= 0.15


async def test_answers_that_are_one_behind_for_ever(raw: Connect, plc: Plc) -> None:
    plc.on("late-answer", delay_s=0)
    client = await raw(plc.port)
    other = bytes.fromhex("03 0000 0001")
    assert await said(client, framed(ASK, transaction=1), 0) == b""
    assert await said(client, framed(other, transaction=2)) == framed(RIGHT, transaction=1)
    assert await said(client, framed(ASK, transaction=3)) == framed(bytes.fromhex("03 02 03E8"), transaction=2)


async def test_a_doubled_answer(raw: Connect, plc: Plc) -> None:
    plc.on("doubled-answer")
    assert await said(await raw(plc.port), framed(ASK), 2 * len(framed(RIGHT))) == 2 * framed(RIGHT)


async def test_fewer_and_more_registers_with_a_byte_count_that_agrees(raw: Connect, plc: Plc) -> None:
    client = await raw(plc.port)
    plc.on("short-answer")
    assert await said(client, framed(ASK)) == framed(bytes.fromhex("03 02 03EC"))
    plc.board.off("short-answer")
    plc.on("long-answer", words=3)
    answer = await said(client, framed(ASK))
    assert answer[:6] == struct.pack(">HHH", 0x0A0B, 0, 13)
    assert answer[7:13] == bytes.fromhex("03 0A 03EC 03ED")
    assert len(answer) == 7 + 2 + 10


@pytest.mark.parametrize(("wanted", "seen"), [(0, 4), (16, 16)])
async def test_another_function_code(raw: Connect, plc: Plc, wanted: int, seen: int) -> None:
    plc.on("wrong-function", function=wanted)
    assert await said(await raw(plc.port), framed(ASK)) == framed(bytes([seen]) + RIGHT[1:])


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, 8, 10, 11])
async def test_each_exception(raw: Connect, plc: Plc, code: int) -> None:
    plc.on("exception", code=code)
    assert await said(await raw(plc.port), framed(ASK)) == framed(bytes([0x83, code]))


async def test_an_exception_hits_its_range_only(raw: Connect, plc: Plc) -> None:
    plc.on("exception", first=5, last=7, code=2)
    client = await raw(plc.port)
    seen = [
        (await client.pdu(struct.pack(">BHH", 3, address, count)))[0]
        for address, count in ((4, 1), (4, 2), (7, 1), (8, 3), (0, 20))
    ]
    assert seen == [3, 0x83, 0x83, 3, 0x83]


async def test_an_exception_hits_its_share_of_the_answers_and_the_same_ones_again(raw: Connect, plc: Plc) -> None:
    async def run(port: int) -> list[int]:
        client = await raw(port)
        return [(await client.pdu(ASK))[0] for _ in range(200)]

    plc.on("exception", rate=0.25)
    first = await run(plc.port)
    assert 30 <= first.count(0x83) <= 70
    again = Plc()
    again.port = await again.server.start("127.0.0.1", 0)
    again.on("exception", rate=0.25)
    assert await run(again.port) == first
    await again.server.stop()


async def test_busy_and_then_fine(raw: Connect, plc: Plc) -> None:
    plc.on("busy-then-fine", times=2)
    client = await raw(plc.port)
    answers = [await client.pdu(ASK) for _ in range(4)]
    assert answers == [b"\x83\x06", b"\x83\x06", RIGHT, RIGHT]


async def test_faults_add_up(raw: Connect, plc: Plc) -> None:
    plc.on("wrong-unit")
    plc.on("doubled-answer")
    plc.on("exception", code=6)
    assert await said(await raw(plc.port), framed(ASK)) == 2 * framed(b"\x83\x06", unit=2)
