"""The Modbus driver against a PLC that misbehaves in every way that was seen in the field."""

import asyncio
import logging
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from drivers import modbus
from drivers.address import ModbusAddress
from drivers.errors import DeviceUnreachable
from drivers.modbus import ModbusDevice
from drivers.profile import Profile, load_profile
from drivers.readonly import NotARead
from drivers.row import Quality

TIMEOUT_S = 1.0
AT_ONCE_S = 0.9  # before the deadline

# three requests: 10-13, 40 and input 7
PROFILE = Profile.model_validate(
    {
        "schema": 1, "kind": "meter", "model": "test", "source": "this test",
        "point": [
            {"name": "a", "address": 10, "type": "uint16"},
            {"name": "b", "address": 12, "type": "uint32"},
            {"name": "c", "address": 40, "type": "uint16"},
            {"name": "d", "address": 7, "type": "int16", "table": "input"},
            {"name": "slow", "address": 41, "type": "uint16", "scan": "slow"},
        ],
    }
)  # fmt: skip
GOOD = [0x400A, 0x400C_400D, 0x4028, 0x4007]


def now_ns() -> int:
    return 1_700_000_000_000_000_000


@pytest.fixture
def device(plc) -> ModbusDevice:
    return ModbusDevice(PROFILE, ModbusAddress("127.0.0.1", plc.port), TIMEOUT_S)


async def test_a_scan_is_a_row_in_the_order_of_the_profile(device: ModbusDevice) -> None:
    async with device.open() as link:
        row = await link.scan("live", now_ns)
        assert row.values[:4].tolist() == GOOD
        assert row.quality.tolist() == [0, 0, 0, 0, Quality.NOT_SCANNED]
        assert np.isnan(row.values[4]) and row.t_ns == now_ns() and row.scan == "live"
        assert link.requests == 3 and link.faults == {} and 0.0 < link.round_trip_s < TIMEOUT_S
        assert (await link.scan("slow", now_ns)).values[4] == 0x4029


async def test_each_request_asks_for_what_the_plan_says(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        await link.scan("live", now_ns)
    asked = [struct.unpack(">BBHH", frame[6:]) for frame in plc.received]
    assert asked == [(1, 3, 10, 4), (1, 3, 40, 1), (1, 4, 7, 1)]


async def test_coils_and_discrete_inputs_are_bits(plc) -> None:
    points = [
        {"name": f"{table}_{a}", "address": a, "type": "bool", "table": table}
        for table in ("coil", "discrete")
        for a in (3, 4, 13)
    ]
    head = {"schema": 1, "kind": "lock", "model": "test", "source": "this test"}
    profile = Profile.model_validate(head | {"point": points})
    async with ModbusDevice(profile, ModbusAddress("127.0.0.1", plc.port), TIMEOUT_S).open() as link:
        row = await link.scan("live", now_ns)
        assert row.values.tolist() == [1, 0, 1, 1, 0, 1]  # bit n of the scripted PLC is n's parity
        assert [frame[7] for frame in plc.received] == [1, 2]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 11, 200])
async def test_an_exception_reply_costs_its_block_only(plc, device: ModbusDevice, code: int) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: plc.refusal(ask, code))
        row = await link.scan("live", now_ns)
        assert row.quality[:4].tolist() == [Quality.REFUSED, Quality.REFUSED, 0, 0]
        assert np.isnan(row.values[:2]).all() and row.values[2:4].tolist() == GOOD[2:]
        assert link.faults == {f"exception_{code}": 1}
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD
    assert plc.connections == 1


NONSENSE: dict[str, tuple[str, Callable]] = {
    "a word less": ("wrong_length", lambda plc, ask: plc.answer(ask, words=[1, 2, 3])),
    "a word more": ("wrong_length", lambda plc, ask: plc.answer(ask, words=[1, 2, 3, 4, 5])),
    "no words": ("wrong_length", lambda plc, ask: plc.answer(ask, words=[])),
    "a length that lies": ("wrong_length", lambda plc, ask: plc.answer(ask, length=6)),
    "no length": ("wrong_length", lambda plc, ask: plc.frame(ask, b"\x03")),
    "the other table": ("wrong_function", lambda plc, ask: plc.answer(ask, function=4)),
    "another request's refusal": ("wrong_function", lambda plc, ask: plc.frame(ask, b"\x84\x02")),
    "transaction id 0": ("wrong_transaction", lambda plc, ask: plc.answer(ask, transaction=0)),
    "a function nobody knows": ("wrong_function", lambda plc, ask: plc.frame(ask, b"\x55\x00\x00")),
}


@pytest.mark.parametrize("kind", NONSENSE)
async def test_nonsense_costs_its_block_only_and_no_time(plc, device: ModbusDevice, kind: str) -> None:
    fault, answer = NONSENSE[kind]
    async with device.open() as link:
        plc.script.append(lambda ask: answer(plc, ask))
        async with asyncio.timeout(AT_ONCE_S):
            row = await link.scan("live", now_ns)
        assert row.quality[:4].tolist() == [Quality.NONSENSE, Quality.NONSENSE, 0, 0]
        assert row.values[2:4].tolist() == GOOD[2:]
        assert link.faults == {fault: 1}
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD


SILENCE: dict[str, Callable] = {
    "silence": lambda plc, ask: b"",
    "half a frame": lambda plc, ask: plc.answer(ask)[:11],
    "another transaction's answer": lambda plc, ask: plc.answer(ask, transaction=ask.transaction + 1),
    "another unit's answer": lambda plc, ask: plc.answer(ask, unit=9),
}


@pytest.mark.parametrize("kind", SILENCE)
async def test_a_silent_plc_costs_one_deadline_and_the_connection(plc, device: ModbusDevice, kind: str) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: SILENCE[kind](plc, ask))
        with pytest.raises(DeviceUnreachable, match="holding 10-13: no answer"):
            await link.scan("live", now_ns)
        async with asyncio.timeout(AT_ONCE_S):
            await plc.hung_up.wait()
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD
        assert link.faults == {"no_answer": 1} and plc.connections == 2
        probe = struct.unpack(">HH", plc.received[1][8:])
        assert probe == (40, 1)  # one register, of another block: perhaps only that one is silent


NO_MODBUS: dict[str, Callable] = {
    "another protocol": lambda plc, ask: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a flood": lambda plc, ask: b"\x00" * 5000,
    "noise before the answer": lambda plc, ask: b"\xff\x12\x34" + plc.answer(ask),
}


@pytest.mark.parametrize("kind", NO_MODBUS)
async def test_bytes_that_are_no_modbus_cost_the_connection_at_once(plc, device: ModbusDevice, kind: str) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: NO_MODBUS[kind](plc, ask))
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(DeviceUnreachable, match=r"holding 10-13: .* is no Modbus TCP header"):
                await link.scan("live", now_ns)
            await plc.hung_up.wait()
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD
        assert link.faults == {"undecodable": 1} and plc.connections == 2


async def test_what_was_read_before_the_silence_is_kept(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        plc.script += [plc.answer, lambda ask: b""]
        row = await link.scan("live", now_ns)
        assert row.quality[:4].tolist() == [0, 0, Quality.NO_ANSWER, Quality.NO_ANSWER]
        assert row.values[:2].tolist() == GOOD[:2] and len(plc.received) == 2


async def test_a_late_answer_is_never_taken_for_the_next(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: (1.5 * TIMEOUT_S, plc.answer(ask, words=[9, 9, 9, 9])))
        with pytest.raises(DeviceUnreachable):
            await link.scan("live", now_ns)
    async with device.open() as link:
        for _ in range(3):
            assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD
            await asyncio.sleep(0.5 * TIMEOUT_S)


async def test_the_right_answer_behind_a_stray_one_counts(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: plc.answer(ask, transaction=4711, words=[9] * 4) + plc.answer(ask))
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD


async def test_a_doubled_answer_is_read_once(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: 2 * plc.answer(ask))
        for _ in range(2):
            assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD


async def test_an_answer_may_come_byte_by_byte(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: tuple(x for b in plc.answer(ask) for x in (bytes([b]), 0.001)))
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD


@pytest.mark.parametrize("before_closing", [b"", b"\x00\x01\x00\x00"])
async def test_hanging_up_mid_request_is_noticed_at_once(plc, device: ModbusDevice, before_closing: bytes) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: (before_closing, None))
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(DeviceUnreachable, match="the device closed the connection"):
                await link.scan("live", now_ns)
        assert link.faults == {"connection_lost": 1}
    assert plc.connections == 1  # nothing reconnects behind the caller's back


async def test_hanging_up_between_scans_costs_nothing(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        plc.script += [plc.answer, plc.answer, lambda ask: (plc.answer(ask), None)]
        await link.scan("live", now_ns)
        while link._bus._wire.lost is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD
        assert link.faults == {} and plc.connections == 2


async def test_no_plc_is_said_in_one_line(unused_tcp_port: int) -> None:
    device = ModbusDevice(PROFILE, ModbusAddress("127.0.0.1", unused_tcp_port, 3), TIMEOUT_S)
    with pytest.raises(DeviceUnreachable, match=rf"^modbus://127.0.0.1:{unused_tcp_port}: .+$") as raised:
        async with device.open():
            pass
    assert "refused" in str(raised.value).lower() and "\n" not in str(raised.value)


async def test_cancelling_passes_untouched_and_hangs_up(plc, device: ModbusDevice) -> None:
    async def forever() -> None:
        async with device.open() as link:
            while True:
                await link.scan("live", now_ns)

    def go_silent(ask) -> bytes:
        asked.set()
        return b""

    asked = asyncio.Event()
    plc.script += [plc.answer, go_silent]
    task = asyncio.create_task(forever())
    await asked.wait()
    task.cancel()
    started_s = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    await plc.hung_up.wait()
    assert time.monotonic() - started_s < AT_ONCE_S


async def test_nothing_but_a_read_leaves_the_client(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        writes = [
            "05 0001 ff00", "06 0001 0007", "0f 0001 0001 01 01", "10 0001 0001 02 0007", "16 0001 0000 0000",
            "17 0001 0001 0001 0001 02 0007", "15 00", "08 0001 0000", "08 000a 0000", "2b 0d 00", "2b",
        ]  # fmt: skip
        for write in writes:
            with pytest.raises(NotARead, match="not sent"):
                await link._bus.ask(1, bytes.fromhex(write), TIMEOUT_S)
            with pytest.raises(NotARead, match="not sent"):
                link._bus._wire.send(1, bytes.fromhex(write))
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD
    assert {frame[7] for frame in plc.received} == {3, 4}


async def test_a_block_refused_again_and_again_is_set_aside_and_probed_alone(
    plc, device: ModbusDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(modbus.time, "monotonic", lambda: now_s)
    refuse = True

    def answer(ask):
        return plc.refusal(ask, 4) if refuse and ask.address == 10 else plc.answer(ask)

    asked = []
    async with device.open() as link:
        for _ in range(40):  # ten seconds, a scan each quarter
            plc.script += 3 * [answer]
            before = len(plc.received)
            row = await link.scan("live", now_ns)
            assert row.quality[:4].tolist() == [Quality.REFUSED, Quality.REFUSED, 0, 0]
            asked.append(len(plc.received) - before)
            plc.script.clear()
            now_s += 0.25
        assert asked[:4] == [3, 3, 3, 3] and link.set_aside == 1
        assert 4 <= asked.count(3) - 4 + 3 <= 12 and asked[-8:].count(3) <= 4, "less and less often"
        refuse, now_s = False, now_s + 60.0
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD
        assert link.set_aside == 0
    assert plc.connections == 1


async def test_a_unit_that_its_gateway_does_not_reach_is_probed_with_one_request(
    plc, device: ModbusDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(modbus.time, "monotonic", lambda: now_s)
    async with device.open() as link:
        for _ in range(4):
            plc.script += 3 * [lambda ask: plc.refusal(ask, 11)]
            await link.scan("live", now_ns)
        assert link.set_aside == 3
        asked = []
        for _ in range(20):
            now_s += 5.0
            plc.script.extend(3 * [lambda ask: plc.refusal(ask, 11)])
            before = len(plc.received)
            row = await link.scan("live", now_ns)
            assert row.quality[:4].tolist() == 4 * [Quality.REFUSED]
            asked.append(len(plc.received) - before)
        assert set(asked) == {0, 1}
        plc.script.clear()
        now_s += 60.0
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD


async def test_a_block_that_is_never_answered_silences_no_other(plc) -> None:
    device = ModbusDevice(PROFILE, ModbusAddress("127.0.0.1", plc.port), 0.4)

    def answer(ask) -> bytes:
        plc.script.append(answer)
        return b"" if ask.address == 10 and ask.count == 4 else plc.answer(ask)

    plc.script.append(answer)
    async with device.open() as link:
        with pytest.raises(DeviceUnreachable):
            await link.scan("live", now_ns)  # the silent one comes first: perhaps nobody is there
        for _ in range(4):
            row = await link.scan("live", now_ns)
            assert row.quality[:4].tolist() == [Quality.NO_ANSWER, Quality.NO_ANSWER, 0, 0]
        assert link.set_aside == 1 and link.faults == {"no_answer": 5}
        row = await link.scan("live", now_ns)
        assert row.quality[:4].tolist() == [Quality.NO_ANSWER, Quality.NO_ANSWER, 0, 0]
        assert link.faults == {"no_answer": 5}, "no more time is spent on it"


async def test_resetting_a_device_asks_for_all_blocks_again(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        for _ in range(4):
            plc.script.append(lambda ask: plc.refusal(ask, 2))
            await link.scan("live", now_ns)
        assert link.set_aside == 1
        assert (await link.scan("live", now_ns)).quality[0] == Quality.REFUSED
        device.reset()
        assert (await link.scan("live", now_ns)).values[:4].tolist() == GOOD


async def test_the_raw_words_of_a_point_are_kept(plc, device: ModbusDevice) -> None:
    async with device.open() as link:
        assert link.words(0) is None
        await link.scan("live", now_ns)
        words = [link.words(i) for i in range(5)]
    assert words == [b"\x40\x0a", b"\x40\x0c\x40\x0d", b"\x40\x28", b"\x40\x07", None]


async def test_a_lasting_fault_is_logged_once_and_its_end_once(
    plc, device: ModbusDevice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        async with device.open() as link:
            plc.script += 3 * [lambda ask: plc.refusal(ask, 2) if ask.address == 10 else plc.answer(ask)]
            await link.scan("live", now_ns)
    async with device.open() as link:
        await link.scan("live", now_ns)
    assert [(r.levelname, r.name) for r in caplog.records] == [
        ("WARNING", "drivers.modbus"),
        ("INFO", "drivers.modbus"),
    ]
    assert "holding 10-13: exception 2: it has no such registers" in caplog.messages[0]


async def test_the_librarys_own_log_stays_quiet(
    plc, device: ModbusDevice, caplog: pytest.LogCaptureFixture
) -> None:
    async with device.open() as link:
        plc.script.append(lambda ask: plc.answer(ask, unit=9))
        with pytest.raises(DeviceUnreachable):
            await link.scan("live", now_ns)
    assert caplog.records == []


async def test_t_ns_is_the_arrival_of_the_last_answer(plc, device: ModbusDevice) -> None:
    instants = iter([1, 2, 3, 4])
    async with device.open() as link:
        plc.script += [plc.answer, plc.answer, lambda ask: b""]
        assert (await link.scan("live", lambda: next(instants))).t_ns == 2


@pytest.mark.parametrize("name", ["generic-charger", "generic-meter", "generic-lock"])
async def test_pymodbus_serves_what_the_driver_reads(name: str) -> None:
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    profile = load_profile(name)
    words = [0x0101 * (n % 100) for n in range(200)]
    data = SimData(0, values=words, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(id=5, simdata=[data]), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    try:
        async with ModbusDevice(profile, ModbusAddress("127.0.0.1", port, 5)).open() as link:
            rows = {scan: await link.scan(scan, now_ns) for scan in profile.scans}
    finally:
        await server.shutdown()
    read = 0
    for i, point in enumerate(profile.points):
        row = rows[point.scan]
        raw = words[point.address : point.address + point.words]
        if point.type in ("uint16", "uint32") and row.quality[i] == Quality.GOOD:
            whole = int.from_bytes(b"".join(struct.pack(">H", w) for w in raw), "big")
            assert row.values[i] == pytest.approx(whole * point.scale, rel=1e-15)
            read += 1
        assert row.quality[i] in (Quality.GOOD, Quality.OUT_OF_RANGE, Quality.TOO_LARGE)
    assert read or name == "generic-meter"


def test_modbus_alone_loads_neither_asyncua_nor_a_server() -> None:
    code = "import sys, drivers.devices, drivers.modbus; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "drivers.modbus" in loaded
    assert not {"asyncua", "pymodbus.server", "drivers.opcua", "numba"} & set(loaded)
