"""RTU on a pty pair and over TCP: framing, pace, several units, another master. The client knows only bytes."""

import asyncio
import os
import struct
import termios
import time
import tty
from collections.abc import AsyncIterator
from typing import Any

import pytest
import serial

from drivers.profile import Profile
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_rtu import crc16, request_length
from firmware_sim.modbus_server import RtuOverTcpServer
from firmware_sim.modbus_unit import ModbusUnit
from firmware_sim.serial_line import SerialLine
from firmware_sim.value_faults import traits_of
from firmware_sim.wire_faults import WireFaults

PROFILE = Profile.model_validate(
    {
        "schema": 1, "kind": "meter", "model": "m", "source": "s",
        "point": [{"name": f"r{i}", "type": "uint16", "address": i} for i in range(125)],
    }
)  # fmt: skip


def crc(data: bytes) -> bytes:
    """Bit by bit, as the standard's flow chart has it; shares nothing with the server."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def framed(unit: int, pdu: bytes) -> bytes:
    return bytes([unit]) + pdu + crc(bytes([unit]) + pdu)


def asks(address: int, count: int, unit: int = 1) -> bytes:
    return framed(unit, struct.pack(">BHH", 3, address, count))


def answer(unit: int, *words: int) -> bytes:
    return framed(unit, struct.pack(f">BB{len(words)}H", 3, 2 * len(words), *words))


class Bus:
    """Units 1 and 2; what they hold tells which of them it is."""

    def __init__(self, protocol: str) -> None:
        self.board = FaultBoard({f"u{n}": traits_of(PROFILE, protocol) for n in (1, 2)})
        self.units = {
            n: ModbusUnit(PROFILE, lambda n=n: {f"r{i}": 1000 * n + i for i in range(125)}) for n in (1, 2)
        }
        self.faults = {n: WireFaults(self.board, f"u{n}", lambda: 0) for n in (1, 2)}


class Port:
    """A client's end of a line."""

    def __init__(self, path: str, baud: int = termios.B19200) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        mode = termios.tcgetattr(self.fd)
        mode[2] |= termios.CSTOPB
        mode[4] = mode[5] = baud
        termios.tcsetattr(self.fd, termios.TCSANOW, mode)

    async def said(self, request: bytes, wait_s: float) -> bytes:
        os.write(self.fd, request)
        came, end_s = b"", time.monotonic() + wait_s
        while time.monotonic() < end_s:
            await asyncio.sleep(0.002)
            try:
                came += os.read(self.fd, 4096)
            except BlockingIOError:
                continue
        return came

    async def frame(self, request: bytes, size: int) -> tuple[bytes, float]:
        """As many bytes as expected, and how long they took from the request on. [s]"""
        os.write(self.fd, request)
        came, start_s = b"", time.monotonic()
        async with asyncio.timeout(3.0):
            while len(came) < size:
                await asyncio.sleep(0.001)
                try:
                    came += os.read(self.fd, 4096)
                except BlockingIOError:
                    continue
        return came, time.monotonic() - start_s


@pytest.fixture
async def bus() -> Bus:
    return Bus("modbus-rtu")


@pytest.fixture
async def line(bus: Bus) -> AsyncIterator[SerialLine]:
    line = SerialLine(bus.units, bus.faults)
    line.start()
    yield line
    await line.stop()


@pytest.fixture
async def port(line: SerialLine) -> AsyncIterator[Port]:
    port = Port(line.path)
    yield port
    os.close(port.fd)


def test_the_checksum_is_the_standards() -> None:
    assert crc16(bytes.fromhex("02 07")) == bytes.fromhex("41 12"), "the example of appendix B"
    for size in (1, 7, 250):
        data = os.urandom(size)
        assert crc16(data) == crc(data)


def test_the_length_of_a_request_follows_from_its_function() -> None:
    assert request_length(b"\x01") is None
    assert request_length(bytes.fromhex("01 03")) == 8
    assert request_length(bytes.fromhex("01 10 0000 0002")) is None
    assert request_length(bytes.fromhex("01 10 0000 0002 04")) == 13
    assert request_length(bytes.fromhex("01 2B 0E")) == 7
    assert request_length(bytes.fromhex("01 64")) is None


async def test_units_of_one_line_answer_each_for_itself_and_an_absent_one_is_silence(port: Port) -> None:
    assert (await port.frame(asks(4, 2), 9))[0] == answer(1, 1004, 1005)
    assert (await port.frame(asks(4, 2, unit=2), 9))[0] == answer(2, 2004, 2005)
    assert await port.said(asks(4, 2, unit=3), 0.1) == b""
    assert await port.said(asks(4, 2, unit=0), 0.1) == b"", "a broadcast"


async def test_a_write_is_refused_and_a_wrong_checksum_is_not_heard(port: Port) -> None:
    assert await port.said(framed(1, bytes.fromhex("06 0001 0001")), 0.1) == framed(1, b"\x86\x01")
    assert await port.said(framed(1, bytes.fromhex("64 00")), 0.15) == framed(1, b"\xe4\x01"), "ended by silence"
    assert await port.said(asks(4, 2)[:-1] + b"\0", 0.15) == b""
    assert (await port.frame(asks(4, 1), 7))[0] == answer(1, 1004)


@pytest.mark.parametrize(("count", "size"), [(1, 7), (125, 255)])
async def test_bytes_take_the_time_they_take_at_19200_baud(port: Port, count: int, size: int) -> None:
    """11 bits a character, 3.5 characters of silence between the frames."""
    expected_s = (8 + 3.5 + size) * 11 / 19_200
    for _ in range(50):  # a busy machine adds to most of them
        _, took_s = await port.frame(asks(0, count), size)
        assert expected_s <= took_s + 0.001
        if took_s < expected_s + 0.05:
            return
    pytest.fail(f"{took_s} s at best, expected {expected_s} s")


async def test_another_baud_rate_is_not_understood(line: SerialLine) -> None:
    port = Port(line.path, termios.B9600)
    assert await port.said(asks(4, 2), 0.15) == b""
    assert line.unheard == 8
    os.close(port.fd)


async def test_pyserial_opens_the_line_with_no_parity_and_two_stop_bits(line: SerialLine) -> None:
    path = line.path

    def ask() -> bytes:
        with serial.Serial(path, 19_200, parity="N", stopbits=2, timeout=1.0) as client:
            client.write(asks(4, 2))
            return bytes(client.read(9))

    assert await asyncio.to_thread(ask) == answer(1, 1004, 1005)


async def test_another_master_and_the_unit_it_asks_are_heard_on_the_line(
    bus: Bus, line: SerialLine, port: Port
) -> None:
    bus.board.on("second-master", "u1", period_s=0.05, unit=17)
    await line.apply()
    heard = await port.said(b"", 0.3)
    foreign = framed(17, bytes.fromhex("03 0000 0002"))
    assert heard.count(foreign) >= 2
    theirs = heard[heard.index(foreign) + 8 :][:9]
    assert theirs[:3] == bytes.fromhex("11 03 04")
    assert theirs[-2:] == crc(theirs[:-2])
    mixed = await port.said(asks(4, 2), 0.15)
    assert answer(1, 1004, 1005) in mixed
    bus.board.off("second-master")
    await line.apply()
    await port.said(b"", 0.1)
    assert await port.said(b"", 0.15) == b""


@pytest.mark.parametrize(
    ("fault", "options", "seen"),
    [
        ("silence", {}, b""),
        ("half-frame", {}, answer(1, 1004, 1005)[:4]),
        ("wrong-unit", {"by": 1}, answer(2, 1004, 1005)),
        ("doubled-answer", {}, 2 * answer(1, 1004, 1005)),
        ("short-answer", {}, answer(1, 1004)),
        ("wrong-function", {}, framed(1, bytes.fromhex("04 04 03EC 03ED"))),
        ("exception", {"code": 6}, framed(1, b"\x83\x06")),
        ("busy-then-fine", {"times": 1}, framed(1, b"\x83\x06")),
    ],
)
async def test_faults_on_a_serial_line(
    bus: Bus, port: Port, fault: str, options: dict[str, Any], seen: bytes
) -> None:
    bus.board.on(fault, "u1", **options)
    assert await port.said(asks(4, 2), 0.1) == seen
    bus.board.off(fault)
    assert (await port.frame(asks(4, 2), 9))[0] == answer(1, 1004, 1005)


async def test_a_late_answer_on_a_line_is_taken_for_the_next_one(bus: Bus, port: Port) -> None:
    """RTU has no transaction: nothing in the bytes tells that this is not what was asked for."""
    bus.board.on("late-answer", "u1", delay_s=0)
    assert await port.said(asks(4, 2), 0.1) == b""
    assert await port.said(asks(50, 2), 0.1) == answer(1, 1004, 1005)


async def test_slow_bytes_on_a_line(bus: Bus, port: Port) -> None:
    bus.board.on("slow-bytes", "u1", pause_s=0.02)
    came, took_s = await port.frame(asks(4, 2), 9)
    assert came == answer(1, 1004, 1005)
    assert took_s > 8 * 0.02


async def test_garbage_on_a_line(bus: Bus, port: Port) -> None:
    bus.board.on("garbage", "u1", size=5, then=1)
    came = await port.said(asks(4, 2), 0.1)
    assert len(came) == 14 and came.endswith(answer(1, 1004, 1005))


async def test_rtu_over_tcp() -> None:
    bus = Bus("modbus-rtu-over-tcp")
    server = RtuOverTcpServer(bus.units, bus.faults)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start("127.0.0.1", 0))

    async def said(request: bytes, wait_s: float = 0.08) -> bytes:
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(500), wait_s)
        except TimeoutError:
            return b""

    try:
        assert await said(asks(4, 2)) == answer(1, 1004, 1005)
        assert await said(asks(4, 2, unit=2)) == answer(2, 2004, 2005)
        assert await said(asks(4, 2, unit=9)) == b"", "an absent unit, as behind a serial device server"
        for byte in asks(4, 1):
            writer.write(bytes([byte]))
            await writer.drain()
        assert await said(b"") == answer(1, 1004)
        bus.board.on("doubled-answer", "u1")
        assert await said(asks(4, 1)) == 2 * answer(1, 1004)
        bus.board.on("reset-connections", "u1")
        writer.write(asks(4, 1))
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 1.0)
    finally:
        writer.close()
        await server.stop()
