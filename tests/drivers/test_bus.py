"""One connection or line for several units: what is answered is right, whatever is late, doubled or torn."""

import asyncio
import fcntl
import logging
import os
import struct
from collections.abc import AsyncIterator

import pytest

from drivers import bus as bus_module
from drivers.address import ModbusAddress
from drivers.bus import Bus, Buses
from drivers.errors import BusDown, DeviceRefused, DeviceUnreachable, DriverError, ReadingRejected
from drivers.modbus_framing import foreign_requests
from drivers.modbus_pdu import read_pdu
from drivers.profile import Profile
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_rtu import crc16
from firmware_sim.modbus_server import ModbusServer, RtuOverTcpServer
from firmware_sim.modbus_unit import ModbusUnit
from firmware_sim.serial_line import SerialLine
from firmware_sim.value_faults import traits_of
from firmware_sim.wire_faults import WireFaults

TIMEOUT_S = 0.4
PROFILE = Profile.model_validate(
    {
        "schema": 1, "kind": "meter", "model": "m", "source": "s",
        "point": [{"name": f"r{i}", "type": "uint16", "address": i} for i in range(40)],
    }
)  # fmt: skip
TRANSPORTS = {"tcp": "modbus-tcp", "rtu-over-tcp": "modbus-rtu-over-tcp", "rtu": "modbus-rtu"}


class Plant:
    """Units 1 and 2 on one server or line; register n of unit u holds 1000 u + n."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.board = FaultBoard({f"u{n}": traits_of(PROFILE, TRANSPORTS[transport]) for n in (1, 2)})
        self.units = {
            n: ModbusUnit(PROFILE, lambda n=n: {f"r{i}": 1000 * n + i for i in range(40)}) for n in (1, 2)
        }
        faults = {n: WireFaults(self.board, f"u{n}", lambda: 0, seed=n) for n in (1, 2)}
        if transport == "rtu":
            self.server: SerialLine | ModbusServer = SerialLine(self.units, faults, paced=False)
        else:
            self.server = (ModbusServer if transport == "tcp" else RtuOverTcpServer)(self.units, faults)

    async def start(self) -> ModbusAddress:
        if isinstance(self.server, SerialLine):
            path = self.server.start()
            return ModbusAddress(transport="rtu", serial=path, parity="N", stop_bits=2, listen_s=0.0)
        port = await self.server.start("127.0.0.1", 0)
        return ModbusAddress("127.0.0.1", port, transport=self.transport)  # type: ignore[arg-type]

    async def on(self, name: str, **options: float | str) -> None:
        self.board.on(name, "u1", **options)
        await self.server.apply()

    async def off(self, name: str) -> None:
        self.board.off(name)
        await self.server.apply()

    @property
    def requests(self) -> int:
        return sum(sum(unit.requests.values()) for unit in self.units.values())


@pytest.fixture(params=TRANSPORTS)
async def plant(request: pytest.FixtureRequest) -> AsyncIterator[Plant]:
    plant = Plant(request.param)
    plant.address = await plant.start()
    yield plant
    await plant.server.stop()


@pytest.fixture
async def bus(plant: Plant) -> AsyncIterator[Bus]:
    buses = Buses()
    bus = buses.bus(plant.address)
    await bus.attach(TIMEOUT_S)
    yield bus
    bus.detach()


async def words(bus: Bus, address: int, count: int, unit: int = 1, timeout_s: float = TIMEOUT_S) -> list[int]:
    pdu = await bus.ask(unit, read_pdu(3, address, count), timeout_s)
    return list(struct.unpack(f">{count}H", pdu[2:]))


def truth(address: int, count: int, unit: int = 1) -> list[int]:
    return [1000 * unit + address + i for i in range(count)]


async def rightly(bus: Bus, asks: int, unit: int = 1) -> list[str]:
    """Ask again and again for equally long blocks; what is answered must be right. Returns: the other faults."""
    faults = []
    for n in range(asks):
        try:
            assert await words(bus, 4 * (n % 5), 4, unit) == truth(4 * (n % 5), 4, unit)
        except DriverError as error:
            faults.append(error.fault)
    return faults


async def recovers(bus: Bus, unit: int = 1) -> None:
    """As a poller would: ask until it answers, then every answer is there."""
    for _ in range(6):
        if not await rightly(bus, 1, unit):
            break
        await asyncio.sleep(TIMEOUT_S)
    assert await rightly(bus, 10, unit) == []


async def test_units_share_one_connection(plant: Plant, bus: Bus) -> None:
    answers = await asyncio.gather(*(words(bus, n, 4, 1 + n % 2) for n in range(20)))
    assert answers == [truth(n, 4, 1 + n % 2) for n in range(20)]
    assert bus.connections == 1 and bus.faults == {}


async def test_requests_are_sent_one_at_a_time_in_order_of_arrival(plant: Plant, bus: Bus) -> None:
    order: list[int] = []

    async def ask(n: int) -> None:
        await words(bus, n, 1)
        order.append(n)

    await asyncio.gather(*(ask(n) for n in range(12)))
    assert order == list(range(12))


FAULTS: dict[str, dict[str, float]] = {
    "late-answer": {"delay_s": 0.0},
    "doubled-answer": {},
    "short-answer": {},
    "long-answer": {},
    "wrong-function": {},
    "half-frame": {},
    "garbage": {"then": 1},
    "wrong-unit": {},
    "exception": {},
    "silence": {},
}


@pytest.mark.parametrize("name", FAULTS)
async def test_no_fault_makes_a_wrong_answer_and_all_end(plant: Plant, bus: Bus, name: str) -> None:
    assert await rightly(bus, 5) == []
    await plant.on(name, **FAULTS[name])
    await rightly(bus, 3)
    await plant.off(name)
    await recovers(bus)
    assert await rightly(bus, 5, unit=2) == []


async def test_answers_that_come_after_their_time_out_meet_no_later_request(plant: Plant, bus: Bus) -> None:
    await plant.on("late-answer", delay_s=1.5 * TIMEOUT_S, rate=0.5)
    await rightly(bus, 6)
    await plant.off("late-answer")
    await recovers(bus)


@pytest.mark.parametrize("plant", ["rtu-over-tcp", "rtu"], indirect=True)
async def test_after_a_time_out_the_line_is_silent_for_another_even_on_a_new_connection(
    plant: Plant, bus: Bus
) -> None:
    await plant.on("silence")
    assert await rightly(bus, 1) == ["no_answer"]
    loop = asyncio.get_running_loop()
    lost_s = loop.time()
    await plant.off("silence")
    assert await rightly(bus, 1) == []
    assert loop.time() - lost_s >= 0.9 * TIMEOUT_S  # never sooner; later a busy machine may be


async def test_a_random_mix_of_faults_makes_no_wrong_answer(plant: Plant, bus: Bus) -> None:
    await plant.on("late-answer", delay_s=0.0, rate=0.15)
    await plant.on("doubled-answer", rate=0.2)
    await plant.on("garbage", rate=0.1, then=1)
    await plant.on("half-frame", rate=0.05)
    await rightly(bus, 16)
    for name in ("late-answer", "doubled-answer", "garbage", "half-frame"):
        await plant.off(name)
    await recovers(bus)


async def test_a_refusal_keeps_the_connection(plant: Plant, bus: Bus) -> None:
    with pytest.raises(DeviceRefused, match="holding 38-41: exception 2"):
        await words(bus, 38, 4)
    assert await rightly(bus, 3) == [] and bus.connections == 1


async def test_a_silent_unit_does_not_cost_its_neighbour_the_connection(plant: Plant, bus: Bus) -> None:
    bus.units.update({1, 2})
    assert await rightly(bus, 1, unit=2) == []
    await plant.on("silence")
    for _ in range(2):
        assert await rightly(bus, 1) == ["no_answer"]
        assert await rightly(bus, 1, unit=2) == []
    await plant.off("silence")
    await recovers(bus)
    assert bus.connections == 1


async def test_a_dead_bus_is_probed_by_one_with_one_register_and_the_rest_are_told(
    plant: Plant, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.units.update({1, 2})
    called = []
    bus.on_return(lambda: called.append(1))
    assert await rightly(bus, 1) == []
    plant.board.on("silence", "u1")
    plant.board.on("silence", "u2")
    for unit in (1, 2):
        with pytest.raises(DeviceUnreachable):
            await words(bus, 0, 4, unit)
    sent = plant.requests
    results = await asyncio.gather(*(words(bus, 0, 4, unit) for unit in (1, 2, 1, 2)), return_exceptions=True)
    assert [type(r) for r in results] == 4 * [BusDown] and plant.requests == sent
    assert 0.0 < results[0].wait_s < 1.5
    plant.board.off("silence")
    await asyncio.sleep(results[0].wait_s)
    assert await words(bus, 0, 4) == truth(0, 4) and called == [1]
    assert await rightly(bus, 3, unit=2) == []


async def test_units_that_a_tool_looks_for_say_nothing_of_the_bus(plant: Plant, bus: Bus) -> None:
    bus.units.symmetric_difference_update({1, 3, 4})  # 1 is the fixture's
    plant.board.on("silence", "u1")
    plant.board.on("silence", "u2")
    for unit in (1, 2):
        with pytest.raises(DeviceUnreachable):
            await words(bus, 0, 4, unit)
    plant.board.off("silence")
    await recovers(bus)
    assert bus.connections == 1


async def test_reset_ends_the_rest_of_a_bus(plant: Plant, bus: Bus) -> None:
    bus.units.update({1, 2})
    bus._rest("the test says so")
    with pytest.raises(BusDown, match=r"left alone for .* the test says so"):
        await words(bus, 0, 1)
    bus.reset()
    assert await words(bus, 0, 1) == truth(0, 1)


async def test_cancelling_a_request_leaves_no_answer_behind(plant: Plant, bus: Bus) -> None:
    for address in range(0, 20, 4):
        asking = asyncio.create_task(words(bus, address, 4))
        sent = bus.requests
        while not asking.done() and bus.requests == sent:  # noqa: ASYNC110
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
    assert await rightly(bus, 10) == []


@pytest.mark.parametrize("plant", ["tcp"], indirect=True)
async def test_no_more_requests_per_second_than_agreed(plant: Plant) -> None:
    address = ModbusAddress("127.0.0.1", plant.address.port, max_requests_per_s=50.0)
    bus = Buses().bus(address)
    await bus.attach(TIMEOUT_S)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    assert await rightly(bus, 6) == []
    assert loop.time() - started_s >= 5 / 50.0 - 0.001  # never faster; slower a busy machine may be
    bus.detach()


@pytest.mark.parametrize("plant", ["tcp"], indirect=True)
async def test_a_pause_is_kept_between_answer_and_request(plant: Plant) -> None:
    bus = Buses().bus(ModbusAddress("127.0.0.1", plant.address.port, pause_s=0.02))
    await bus.attach(TIMEOUT_S)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    await asyncio.gather(*(words(bus, n, 1, 1 + n % 2) for n in range(6)))
    assert loop.time() - started_s >= 5 * 0.02 - 0.001
    bus.detach()


def test_devices_on_one_line_must_agree_on_it() -> None:
    buses = Buses()
    line = ModbusAddress(transport="rtu", serial="/dev/ttyUSB0", baud=9600)
    assert buses.bus(line) is buses.bus(
        ModbusAddress(transport="rtu", serial="/dev/ttyUSB0", baud=9600, unit_id=9)
    )
    with pytest.raises(ValueError, match="share a bus and differ"):
        buses.bus(ModbusAddress(transport="rtu", serial="/dev/ttyUSB0", baud=19_200))


async def test_connecting_again_after_a_lost_connection_needs_no_new_link(plant: Plant, bus: Bus) -> None:
    if plant.transport == "rtu":
        return  # a line has no connection to lose; see the unplugged adapter below
    assert await rightly(bus, 1) == []
    for connection in list(plant.server.connections):
        connection.end("reset")
    assert set(await rightly(bus, 1)) <= {"connection_lost"}
    assert await rightly(bus, 5) == []


# --- a serial line


@pytest.fixture
async def line() -> AsyncIterator[Plant]:
    plant = Plant("rtu")
    plant.address = await plant.start()
    yield plant
    await plant.server.stop()


def listening(address: ModbusAddress, listen_s: float) -> ModbusAddress:
    return ModbusAddress(transport="rtu", serial=address.serial, parity="N", stop_bits=2, listen_s=listen_s)


async def test_a_line_with_another_master_is_left_alone_until_it_is_gone(
    line: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "LONGEST_REST_S", 0.05)
    await line.on("second-master", period_s=0.05)
    bus = Buses().bus(listening(line.address, 0.6))
    with pytest.raises(DeviceUnreachable, match="another master talks on this line"):
        await bus.attach(TIMEOUT_S)
    assert line.requests == 0 and bus.faults == {"second_master": 1}
    await line.off("second-master")
    await asyncio.sleep(0.1)
    await bus.attach(TIMEOUT_S)
    assert await rightly(bus, 5) == []
    bus.detach()


async def test_another_master_that_comes_later_is_noticed(line: Plant) -> None:
    bus = Buses().bus(line.address)
    await bus.attach(TIMEOUT_S)
    assert await rightly(bus, 3) == []
    await line.on("second-master", period_s=0.01)
    told = ""
    while "another master talks" not in told:
        await asyncio.sleep(0.02)
        try:
            assert await words(bus, 0, 4) == truth(0, 4)
        except DeviceUnreachable as error:  # also that the two spoke at once
            told = str(error)
    bus.detach()


async def test_a_line_has_one_owner_among_all_processes(line: Plant) -> None:
    held = os.open(line.address.serial, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(held, fcntl.LOCK_EX)
    bus = Buses().bus(line.address)
    try:
        with pytest.raises(DeviceUnreachable, match="in use by another process; one line has one master"):
            await bus.attach(TIMEOUT_S)
    finally:
        os.close(held)
    await bus.attach(TIMEOUT_S)
    other = Buses().bus(line.address)
    with pytest.raises(DeviceUnreachable, match="in use by another process"):
        await other.attach(TIMEOUT_S)
    assert await rightly(bus, 3) == []
    bus.detach()


async def test_an_adapter_that_is_not_there_is_said_so() -> None:
    for name, told in (
        ("/dev/ttyNothing7", "/dev/ttyNothing7 is not there; is the adapter plugged in"),
        ("usb:dead:beef:X1", "usb:dead:beef:X1 is not plugged in; plugged in: "),
    ):
        bus = Buses().bus(ModbusAddress(transport="rtu", serial=name, listen_s=0.0))
        with pytest.raises(DeviceUnreachable, match=told):
            await bus.attach(TIMEOUT_S)


async def test_parity_that_a_port_does_not_know_is_said_so(line: Plant) -> None:
    bus = Buses().bus(ModbusAddress(transport="rtu", serial=line.address.serial, parity="E", listen_s=0.0))
    with pytest.raises(DeviceUnreachable, match="does not take 19200 baud, 8 bits, parity E, 1 stop bits"):
        await bus.attach(TIMEOUT_S)


async def test_an_unplugged_adapter_is_opened_again(line: Plant) -> None:
    bus = Buses().bus(line.address)
    await bus.attach(TIMEOUT_S)
    assert await rightly(bus, 3) == []
    await line.server.stop()
    assert await rightly(bus, 2) != []
    bus.detach()
    with pytest.raises(DeviceUnreachable):
        await bus.attach(TIMEOUT_S)


def test_requests_of_another_master_are_told_from_answers() -> None:
    ask = bytes.fromhex("11 03 0000 0002")
    answer = bytes.fromhex("11 03 04 1234 5678")
    heard = b"\x00\x7f" + ask + crc16(ask) + answer + crc16(answer)
    assert foreign_requests(heard) == [0x11]
    assert foreign_requests(answer + crc16(answer)) == []


async def test_a_lasting_rest_is_logged_once(plant: Plant, bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    bus.units.update({1, 2})
    caplog.set_level(logging.INFO, "drivers.bus")
    for _ in range(3):
        bus._rest("no unit answers")
    bus.reset()
    assert await rightly(bus, 2) == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_nonsense_on_a_line_is_followed_by_a_small_request_of_another_length(line: Plant) -> None:
    bus = Buses().bus(line.address)
    await bus.attach(TIMEOUT_S)
    await line.on("short-answer", words=1)
    with pytest.raises(ReadingRejected, match="holding 0-3: 6 bytes, said to be 6, not 8"):
        await words(bus, 0, 4)
    await line.off("short-answer")
    before = bus.requests
    assert await words(bus, 0, 4) == truth(0, 4)
    assert bus.requests == before + 2
    bus.detach()
