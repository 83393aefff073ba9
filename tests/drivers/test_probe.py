"""A device that nobody has described: what it says is read gently, and its faults are recognised."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from drivers.address import ModbusAddress
from drivers.bus import Bus
from drivers.errors import DeviceRefused, DeviceUnreachable
from drivers.modbus_pdu import read_pdu
from drivers.probe import Asker, Enough, diagnose, name_plate, read_again, read_span
from drivers.probe_match import Memory, matches, read_with, remedies
from drivers.probe_url import parse_url
from drivers.probe_words import Guess, guesses
from drivers.profile import Profile, load_profile, shipped_profiles
from firmware_sim.encode import words_of
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_server import ModbusServer, ModbusUnit, RtuOverTcpServer
from firmware_sim.value_faults import ValueFaults, traits_of

TIMEOUT_S = 5.0
METER = load_profile("generic-meter")
VALUES: dict[str, Any] = {
    "power_w": 6_998_400.0, "reactive_power_var": 812_000.0, "voltage_l1_v": 6_351.0, "voltage_l2_v": 6_340.5,
    "voltage_l3_v": 6_355.25, "current_l1_a": 368.5, "current_l2_a": 367.0, "current_l3_a": 369.25,
    "frequency_hz": 50.01, "power_factor": 0.993, "energy_import_total_wh": 48_211_907,
    "energy_export_total_wh": 1_204, "reactive_import_total_varh": 5_311_200,
}  # fmt: skip


def unit(profile: Profile = METER, swapped: bool = False, **values: Any) -> ModbusUnit:
    board = FaultBoard({"m": traits_of(profile, "modbus-tcp")})
    if swapped:
        board.on("swapped-words", "m")
    return ModbusUnit(profile, lambda: VALUES | values, ValueFaults(board, "m", profile, lambda: 0, 1))


def asker(served: ModbusUnit, most: int = 200) -> Asker:
    """Asks a simulated unit without a socket; refusals as a bus raises them."""

    async def ask(pdu: bytes) -> bytes:
        answer = served.answer(pdu)
        if answer[0] & 0x80:
            error = DeviceRefused(f"exception {answer[1]}")
            error.fault = f"exception_{answer[1]}"
            raise error
        return answer

    return Asker(ask, most, pause_s=0.0)


# --- addresses ---


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("modbus://10.20.0.7:1502/3", ModbusAddress("10.20.0.7", 1502, 3)),
        ("modbus://plc", ModbusAddress("plc")),
        ("modbus://[::1]:502/0", ModbusAddress("::1", 502, 0)),
        ("modbus+rtu-over-tcp://10.20.0.7:4001?unit=9", ModbusAddress("10.20.0.7", 4001, 9, "rtu-over-tcp")),
        ("modbus+tls://plc?tls_ca=ca.pem", ModbusAddress("plc", transport="tls", tls_ca="ca.pem")),
        (
            "modbus+rtu:///dev/ttyUSB0?baud=9600&parity=N&unit=3",
            ModbusAddress(transport="rtu", serial="/dev/ttyUSB0", baud=9600, parity="N", stop_bits=2, unit_id=3),
        ),
        ("modbus+rtu:///dev/ttyUSB7/12", ModbusAddress(transport="rtu", serial="/dev/ttyUSB7", unit_id=12)),
        ("modbus+rtu://usb:0403:6001", ModbusAddress(transport="rtu", serial="usb:0403:6001")),
    ],
)
def test_a_url_says_where_a_device_is(url: str, expected: ModbusAddress) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("10.20.0.7", "'' is not one of modbus"),
        ("http://10.20.0.7", "'http' is not one of modbus"),
        ("modbus:///1", "names no host"),
        ("modbus://plc:99999", "out of range"),
        ("modbus://plc/one", "unit 'one' is not a number"),
        ("modbus://plc/256", "unit 256 is not one of 0 to 255"),
        ("modbus://plc?speed=3", "speed: no such setting; use unit, baud"),
        ("modbus://plc?unit=x", "unit = 'x' is not a number"),
        ("modbus+rtu:///dev/ttyS0?parity=X", "parity = 'X' is not one of N, E, O"),
        ("modbus+rtu://ttyUSB0", "give a path, as in /dev/ttyUSB0"),
    ],
)
def test_a_wrong_url_is_told_with_what_to_write(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        parse_url(url)


# --- ranges ---


async def test_what_a_device_refuses_is_found_and_the_rest_is_read() -> None:
    served = unit()
    ask = asker(served)
    span = await read_span(ask, "holding", 0, 100)
    assert list(span.runs()) == [(0, 20), (40, 12)]
    assert list(span.gaps()) == [(20, 39, "exception_2"), (52, 99, "exception_2")]
    assert [span.words[16], span.words[17]] == words_of(METER.points[METER.index["frequency_hz"]], 50.01)
    asked = ask.requests
    again = await read_again(ask, span)
    assert again.words == span.words and again.missing == span.missing
    assert ask.requests - asked == 2


async def test_a_look_is_bounded_in_requests_and_says_what_was_not_asked() -> None:
    ask = asker(unit(), most=5)
    span = await read_span(ask, "holding", 0, 100)
    assert ask.requests == 5
    assert set(span.missing.values()) == {"not_asked"}
    with pytest.raises(Enough):
        await ask(read_pdu(3, 0, 1))


async def test_a_device_that_is_silent_about_some_registers_is_not_asked_for_ever() -> None:
    async def ask(pdu: bytes) -> bytes:
        if pdu[1:3] != b"\0\0":
            raise DeviceUnreachable("no answer")
        return bytes((3, 200)) + bytes(200)

    counted = Asker(ask, pause_s=0.0)
    span = await read_span(counted, "holding", 0, 1000)
    assert counted.requests == 3
    assert list(span.gaps()) == [(100, 299, "no_answer"), (300, 999, "not_asked")]


async def test_bits_are_read_too() -> None:
    profile = Profile.model_validate(
        {"schema": 1, "kind": "lock", "model": "m", "source": "s", "table": "coil",
         "point": [{"name": f"b{i}", "type": "bool", "address": i} for i in range(20)]}
    )  # fmt: skip
    served = ModbusUnit(profile, lambda: {f"b{i}": int(i in (0, 9, 19)) for i in range(20)})
    span = await read_span(asker(served), "coil", 0, 20)
    assert [a for a, bit in span.words.items() if bit] == [0, 9, 19]


# --- what words may mean ---


def registers(**values: list[int]) -> dict[int, int]:
    return {int(start[1:]) + i: word for start, words in values.items() for i, word in enumerate(words)}


def test_the_byte_order_in_which_most_is_a_measurement_wins() -> None:
    for order in ("abcd", "cdab", "badc", "dcba"):
        points = [p.model_copy(update={"order": order}) for p in METER.points]
        words = {(p.address or 0) + i: w for p in points for i, w in enumerate(words_of(p, VALUES[p.name]))}
        found = guesses(words)
        assert (found[16].order, found[16].quantity) == (order, "hz") and found[16].value == pytest.approx(50.01)
        assert found[4].quantity == "v" and found[0].value == 6_998_400.0
        assert all(found[(p.address or 0)].type == "float32" for p in points if p.type == "float32")


def test_integers_and_texts_are_told_from_floats() -> None:
    found = guesses(registers(a0=[2301], a1=[4998], a10=[0x0012, 0xD687], a20=[0x5155, 0x4159, 0x4C49, 0x4E45]))
    assert found[0] == Guess("uint16", 2301, 1, quantity="v", divisor=10)
    assert found[1] == Guess("uint16", 4998, 1, quantity="hz", divisor=100)
    assert found[10] == Guess("int32", 1_234_567, 2, "abcd")
    assert found[20] == Guess("text", "QUAYLINE", 4)
    assert guesses({0: 0, 1: 0, 2: 0xFFFF}) == {}


def test_voltages_that_read_as_letters_stay_voltages() -> None:
    """11 549 V is `F4t2` in ASCII; a text there would turn the order of the whole meter."""
    volts = [0x4634, 0x4CF2, 0x4634, 0x7432, 0x4634, 0x82F0]
    right = [0x470C, 0xAD87, *volts, 0x4248, 0x00E3, 0x3F7E, 0x4548]
    swapped = [word for high, low in zip(right[::2], right[1::2], strict=True) for word in (low, high)]
    for order, words in (("abcd", right), ("cdab", swapped)):
        found = guesses(dict(enumerate(words)))
        assert [a for a, guess in found.items() if (guess.type, guess.order) == ("float32", order)] == [
            *range(0, 12, 2)
        ]
        assert [found[a].quantity for a in (2, 4, 6, 8)] == ["v", "v", "v", "hz"]


# --- profiles ---


def three_phase() -> dict[str, Any]:
    """A low-voltage feeder whose quantities fit together."""
    found: dict[str, Any] = {"power_w": 15_000.0, "apparent_power_va": 15_600.0, "reactive_power_var": 4_280.0}
    for n, amperes in ((1, 22.0), (2, 23.0), (3, 22.8)):
        found |= {
            f"voltage_l{n}_v": 230.0 + n, f"current_l{n}_a": amperes, f"power_l{n}_w": 5_000.0,
            f"apparent_power_l{n}_va": 5_200.0, f"reactive_power_l{n}_var": 1_400.0 + n,
            f"power_factor_l{n}": 0.96,
        }  # fmt: skip
    lines = {"voltage_l12_v": 400.1, "voltage_l23_v": 401.8, "voltage_l31_v": 400.9}
    return found | lines | {"frequency_hz": 50.01, "power_factor": 0.9615}


async def test_a_device_is_known_by_its_answers_and_told_apart_from_all_other_profiles() -> None:
    for name in shipped_profiles():
        profile = load_profile(name)
        if profile.protocol != "modbus":
            continue
        ask = asker(unit(profile, **three_phase()))
        best, *others = await matches(ask)
        assert ask.requests < 30
        assert best.name == name, [(m.name, m.score) for m in [best, *others]]
        assert best.reading is not None and best.reading.answered == best.reading.asked and not best.swap


async def test_a_sunspec_device_is_known_by_its_marker() -> None:
    common, model = [1, 66, *[0] * 66], [213, 124, *[0] * 124]
    words = dict(enumerate([0x5375, 0x6E53, *common, *model, 0xFFFF, 0], 40_000))
    of_213 = {26: 50.01, 28: 15_000.0, 30: 5_000.0, 32: 5_000.0, 34: 5_000.0}  # Hz, W, W of each phase
    for at, number in ((40_070 + offset, number) for offset, number in of_213.items()):
        high, low = np.array([number], ">f4").view(">u2").tolist()
        words |= {at: high, at + 1: low}

    async def ask(pdu: bytes) -> bytes:
        first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        if pdu[0] != 3 or any(a not in words for a in range(first, first + count)):
            error = DeviceRefused("exception 2")
            error.fault = "exception_2"
            raise error
        return bytes((3, 2 * count)) + b"".join(words[a].to_bytes(2, "big") for a in range(first, first + count))

    best = (await matches(Asker(ask, pause_s=0.0)))[0]
    assert best.name == "SunSpec" and best.reading is not None
    assert best.reading.profile.model.endswith("SunSpec model 213") and not best.reading.doubts
    index, values = best.reading.profile.index, best.reading.row.values
    assert values[index["frequency_hz"]] == pytest.approx(50.01) and values[index["power_w"]] == 15_000.0


async def test_swapped_words_are_seen_in_the_match_and_in_the_reading_of_a_profile() -> None:
    ask = asker(unit(swapped=True))
    best = (await matches(ask))[0]
    assert (best.name, best.swap) == ("generic-meter", "words")
    memory = Memory(ask)
    reading = await read_with(METER, memory)
    assert reading.doubts[METER.index["frequency_hz"]] == "no_number"
    (hint,) = await remedies(reading, memory)
    assert hint.key == "swapped_words" and hint.values["order"] == "cdab"
    assert (hint.values["before"], hint.values["after"]) == (11, 0)


@pytest.mark.parametrize("shift", [-1, 1])
async def test_addresses_off_by_one_are_recognised(shift: int) -> None:
    """The device has its registers `shift` away from where the profile says."""
    moved = METER.model_copy(
        update={"point": tuple(p.model_copy(update={"address": p.address + 10 + shift}) for p in METER.points)}
    )
    here = METER.model_copy(
        update={"point": tuple(p.model_copy(update={"address": p.address + 10}) for p in METER.points)}
    )
    memory = Memory(asker(unit(moved)))
    (hint,) = await remedies(await read_with(here, memory), memory)
    assert hint.key == "shifted" and hint.values["shift"] == f"{shift:+d}" and hint.values["after"] == 0


async def test_a_right_profile_gets_no_hint_and_a_dead_device_neither() -> None:
    for values in ({}, dict.fromkeys(VALUES, 0.0)):
        memory = Memory(asker(unit(**values)))
        reading = await read_with(METER, memory)
        assert not reading.doubts
        assert await remedies(reading, memory) == []


async def test_what_does_not_fit_the_physics_is_named() -> None:
    memory = Memory(asker(unit(frequency_hz=16.7, power_factor=0.5, current_l1_a=1e20)))
    reading = await read_with(METER, memory)
    names = {METER.points[i].name: why for i, why in reading.doubts.items()}
    assert names == {"frequency_hz": "frequency", "power_factor": "power_factor", "current_l1_a": "no_number"}


# --- who is there ---


@pytest.mark.parametrize("transport", ["tcp", "rtu-over-tcp"])
async def test_a_name_plate_comes_over_any_framing(transport: str) -> None:
    server = (ModbusServer if transport == "tcp" else RtuOverTcpServer)({1: unit()})
    port = await server.start("127.0.0.1", 0)
    bus = Bus(ModbusAddress("127.0.0.1", port, transport=transport))  # type: ignore[arg-type]
    await bus.attach(TIMEOUT_S)
    try:
        plate = await name_plate(Asker(lambda pdu: bus.ask(1, pdu, TIMEOUT_S)))
    finally:
        bus.detach()
        await server.stop()
    assert plate == ["bollard simulator", METER.model, METER.hash]


async def test_a_name_plate_cut_short_is_taken_as_far_as_it_goes() -> None:
    answers: list[Callable[[], bytes]] = [
        lambda: b"\x2b\x0e\x01\x81\x00\x00\x03\x00\x04ACME\x01\x09X",
        lambda: b"\x2b\x0e",
        lambda: b"\x2b\x0e\x01\x01\xff\x01\x01\x00\x04ACME",  # more follows from 1 on
        lambda: b"\x2b\x0e\x01\x01\x00\x00\x01\x01\x02M3",
        lambda: b"\x2b\x0e\x01\x01\x00\x00\x05",  # five texts are announced, none comes
    ]

    def ask(*which: int) -> Callable[[bytes], Awaitable[bytes]]:
        left = list(which)

        async def answer(_: bytes) -> bytes:
            return answers[left.pop(0)]()

        return answer

    assert await name_plate(Asker(ask(0), pause_s=0.0)) == ["ACME", "X"]
    assert await name_plate(Asker(ask(1), pause_s=0.0)) == []
    assert await name_plate(Asker(ask(2, 3), pause_s=0.0)) == ["ACME", "M3"]
    assert await name_plate(Asker(ask(4), pause_s=0.0)) == []


async def test_rtu_on_a_tcp_port_is_told_from_modbus_tcp_and_the_other_way_round() -> None:
    for server, given, found in (
        (RtuOverTcpServer({1: unit()}), "tcp", "rtu-over-tcp"),
        (ModbusServer({1: unit()}), "rtu-over-tcp", "tcp"),
    ):
        port = await server.start("127.0.0.1", 0)
        address = ModbusAddress("127.0.0.1", port, transport=given)  # type: ignore[arg-type]
        there, (hint,) = await diagnose(address, read_pdu(3, 0, 1), TIMEOUT_S)
        await server.stop()
        assert there is not None and there.transport == found
        assert hint.key == f"is_{found.replace('-', '_')}" and str(port) in str(hint.values["url"])


async def test_the_units_that_answer_are_named() -> None:
    server = ModbusServer({2: unit(), 10: unit()})
    port = await server.start("127.0.0.1", 0)
    there, (hint,) = await diagnose(ModbusAddress("127.0.0.1", port, 1), read_pdu(3, 0, 1), 2.0)
    await server.stop()
    assert there is not None and there.unit_id == 2
    assert hint.key == "other_unit" and hint.values["found"] == "2, 10"


async def test_where_nobody_answers_the_units_tried_are_named() -> None:
    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    there, (hint,) = await diagnose(ModbusAddress("127.0.0.1", port, 1), read_pdu(3, 0, 1), 0.05)
    server.close()
    assert there is None and hint.key == "nobody" and str(hint.values["units"]).startswith("1, 255, 0, 2")


async def test_a_silent_line_has_advice_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: object) -> list[int]:
        return []

    monkeypatch.setattr("drivers.probe._who_answers", nobody)
    line = ModbusAddress(transport="rtu", serial="/dev/ttyUSB0")
    _, hints = await diagnose(line, read_pdu(3, 0, 1), 0.1)
    assert [hint.key for hint in hints] == ["nobody_serial"]
    _, hints = await diagnose(ModbusAddress("10.20.0.7"), read_pdu(3, 0, 1), 0.1)
    assert [hint.key for hint in hints] == ["nobody"]
