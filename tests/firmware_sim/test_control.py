"""The truth, asked for over the control port, against what the wire says at the same instant."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from firmware_sim.bench import Bench
from firmware_sim.clock import SimClock
from firmware_sim.control import ControlPort
from firmware_sim.serve import Ports, PortTakenError, serving

NS = 10**9
EPOCH_NS = 1_791_956_400_000_000_000  # of the clock in conftest.py
Ask = Callable[[Any], Awaitable[dict[str, Any]]]


@pytest.fixture
async def ask(served: dict[str, Any]) -> Ask:
    async def ask(request: Any) -> dict[str, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served["control"])
        writer.write((request if isinstance(request, str) else json.dumps(request)).encode() + b"\n")
        answer = json.loads(await asyncio.wait_for(reader.readline(), 2.0))
        writer.close()
        assert isinstance(answer, dict)
        return answer

    return ask


async def test_the_truth_is_what_the_registers_say(raw: Any, served: dict[str, Any], clock: Any, ask: Ask) -> None:
    client = await raw(served["devices"]["meter-1"]["port"])
    for second in (0, 811, 2000, 4400):
        clock.t_ns = second * NS + 123_456_789
        truth = await ask({"get": "truth"})
        power = struct.unpack(">f", await client.registers(0, 2))[0]
        register = int.from_bytes(await client.registers(40, 4), "big")
        assert truth["t_ns"] == clock.now_ns()
        assert truth["registers"] == {"meter-1": register}
        assert power == pytest.approx(truth["power_w"], rel=1e-6)


async def test_the_truth_knows_calls_and_lockages(clock: Any, ask: Ask) -> None:
    clock.t_ns = 4400 * NS
    truth = await ask({"get": "truth"})
    (call,) = truth["calls"]
    assert EPOCH_NS < call["mated_ns"] < call["start_ns"] < call["stop_ns"] < call["unmated_ns"] < truth["t_ns"]
    assert call["energy_wh"] == pytest.approx(4.3e6, rel=0.05)
    assert truth["lockages"] == 3
    assert truth["locks"]["lock-1"]["lockages"][0]["direction"] == "down"
    assert truth["berths"]["berth-1"]["state_name"] == "IDLE"
    assert 0.6 < truth["soc"] < 0.8


async def test_soc_and_registers_are_known_at_any_time(ask: Ask) -> None:
    soc = (await ask({"soc_at": [EPOCH_NS, EPOCH_NS + 3502 * NS]}))["soc"]
    assert soc == [0.45, pytest.approx(0.816, abs=0.001)]
    registers = (await ask({"registers_at": [EPOCH_NS, EPOCH_NS + 3600 * NS]}))["registers"]["meter-1"]
    assert registers[0] == 1_843_275_410
    assert registers[1] - registers[0] > 4_000_000


async def test_the_state_shows_values_before_encoding_and_the_traffic(
    raw: Any, served: dict[str, Any], clock: Any, ask: Ask
) -> None:
    clock.t_ns = 1500 * NS
    client = await raw(served["devices"]["charger-1"]["port"])
    await client.registers(0, 1)
    await client.pdu(bytes.fromhex("06 00 00 00 01"))
    state = await ask({"get": "state"})
    assert state["requests"]["charger-1"] == {"3": 1, "6": 1}
    assert set(state["devices"]) == {"charger-1", "meter-1", "lock-1"}
    assert state["devices"]["charger-1"]["state"] == 7


@pytest.mark.parametrize(
    "request_", ["nonsense", '{"get": "gold"}', "[1]", '{"soc_at": [1.5]}', '{"soc_at": [1], "berth": "b"}']
)
async def test_a_wrong_request_is_answered_with_what_is_right(ask: Ask, request_: str) -> None:
    assert "error" in await ask(request_)


async def test_a_stop_can_be_asked_for(bench: Bench) -> None:
    stop = asyncio.Event()
    control = ControlPort(bench, SimClock(0, 1.0, None), stop, dict)
    assert control.answer(b'{"stop": true}\n') == {"stopping": True}
    assert stop.is_set()


async def test_a_taken_port_is_one_sentence(served: dict[str, Any], clock: Any) -> None:
    bench = served["bench"]
    taken = served["devices"]["charger-1"]["port"]
    with pytest.raises(PortTakenError, match=rf"charger-1: 127.0.0.1:{taken} cannot be listened on.*--port-base"):
        async with serving(bench, clock, Ports(base=taken), asyncio.Event()):
            pass
    with pytest.raises(PortTakenError, match="the control port: "):
        async with serving(bench, clock, Ports(control=taken), asyncio.Event()):
            pass


async def test_a_whole_call_seen_through_the_registers_is_the_truth(
    raw: Any, served: dict[str, Any], clock: Any
) -> None:
    """Integrate the power as served, once a second, against the register: they are one thing."""
    client = await raw(served["devices"]["meter-1"]["port"])
    powers, registers = [], []
    for second in range(780, 3600, 4):
        clock.t_ns = second * NS
        powers.append(struct.unpack(">f", await client.registers(0, 2))[0])
        registers.append(int.from_bytes(await client.registers(40, 4), "big"))
    integrated_wh = 4 * (sum(powers) - (powers[0] + powers[-1]) / 2) / 3600
    assert integrated_wh == pytest.approx(registers[-1] - registers[0], rel=1e-3)
