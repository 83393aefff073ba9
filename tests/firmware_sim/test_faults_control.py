"""Faults switched over the control port and the command line, and scripted in a scenario: seen on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Process
from typer.testing import CliRunner

from firmware_sim.bench import Bench
from firmware_sim.cli import app
from firmware_sim.scenario import ScenarioError, load_scenario
from firmware_sim.serve import Ports, serving

NS = 10**9
Ask = Callable[[Any], Awaitable[dict[str, Any]]]
SCENARIO = """
schema = 1
name = "quay"
[[lock]]
name = "lock-1"
[[device]]
name = "lock-1"
profile = "generic-lock"
plant = "lock-1"
bus = "field"
unit_id = 3
{bus}
[[device]]
name = "copy"
profile = "generic-lock"
plant = "lock-1"
bus = "field"
unit_id = 4
{bus}
{rest}
"""


def scenario(tmp_path: Path, rest: str = "", bus: str = "") -> Path:
    path = tmp_path / "quay.toml"
    path.write_text(SCENARIO.format(rest=rest, bus=bus))
    return path


@pytest.fixture
async def ask(served: dict[str, Any]) -> AsyncIterator[Ask]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served["control"])

    async def ask(request: Any) -> dict[str, Any]:
        writer.write(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), 2.0))
        return answer

    yield ask
    writer.close()


async def test_a_fault_is_on_when_the_switch_is_answered(raw: Any, served: dict[str, Any], ask: Ask) -> None:
    port = served["devices"]["meter-1"]["port"]
    answer = await ask({"fault": "exception", "on": True, "device": "meter-1", "options": {"code": 6}})
    assert answer["on"] is True
    assert answer["options"] == {"code": 6, "first": 0, "last": 65_535, "rate": 1.0}
    client = await raw(port)
    assert await client.pdu(bytes.fromhex("03 0000 0002")) == b"\x83\x06"
    listed = await ask({"get": "faults"})
    assert [one["fault"] for one in listed["active"]] == ["exception"]
    assert listed["kinds"]["exception"]["options"]["code"]["allowed"] == "a whole number from 1 to 255"
    answer = await ask({"fault": "exception", "on": False})
    assert [one["device"] for one in answer["ended"]] == ["meter-1"]
    assert (await client.pdu(bytes.fromhex("03 0000 0002")))[0] == 3

    await ask({"fault": "refuse-connections", "on": True, "device": "meter-1"})
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await ask({"fault": "refuse-connections", "on": False})
    assert (await (await raw(port)).pdu(bytes.fromhex("03 0000 0002")))[0] == 3


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"fault": "quiet", "on": True}, "'quiet' is not one of"),
        ({"fault": "silence", "on": True}, "name the device, one of charger-1, meter-1, lock-1"),
        ({"fault": "silence", "on": True, "device": 3}, "device is a text"),
        ({"fault": "silence", "on": True, "device": "meter-1", "options": {"rate": 2}}, "rate = 2"),
        ({"fault": "silence", "on": 1}, "is no request"),
    ],
)
async def test_a_wrong_switch_is_answered_with_what_is_right(ask: Ask, request_: Any, sentence: str) -> None:
    assert sentence in (await ask(request_))["error"]
    assert (await ask({"get": "faults"}))["active"] == []


async def test_scripted_faults_come_and_go_by_the_simulated_clock(raw: Any, clock: Any, tmp_path: Path) -> None:
    script = """
[[fault]]
name = "exception"
device = "lock-1"
at_s = 60
for_s = 30
options = { code = 4 }
[[fault]]
name = "refuse-connections"
device = "lock-1"
at_s = 200
for_s = 10
"""
    bench = Bench(load_scenario(str(scenario(tmp_path, script))))
    async with serving(bench, clock, Ports(), asyncio.Event()) as ready:
        port = ready["devices"]["lock-1"]["port"]
        assert ready["devices"]["copy"]["port"] == port, "one bus, one port"
        client = await raw(port)
        seen = []
        for second in (59, 60, 89, 90):
            clock.t_ns = second * NS
            seen.append((await client.pdu(bytes.fromhex("03 0000 0001"), unit=3))[0])
            assert (await client.pdu(bytes.fromhex("03 0000 0001"), unit=4))[0] == 3
        assert seen == [3, 0x83, 0x83, 3]

        clock.t_ns = 205 * NS
        async with asyncio.timeout(30.0):
            assert await client.reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        clock.t_ns = 211 * NS
        async with asyncio.timeout(30.0):
            while True:
                try:
                    again = await raw(port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
        assert (await again.pdu(bytes.fromhex("03 0000 0001"), unit=3))[0] == 3


async def test_devices_of_a_serial_bus_share_a_line(clock: Any, tmp_path: Path) -> None:
    path = scenario(tmp_path, bus='transport = "rtu"\nbaud = 9600')
    async with serving(Bench(load_scenario(str(path))), clock, Ports(), asyncio.Event()) as ready:
        first, second = ready["devices"]["lock-1"], ready["devices"]["copy"]
        assert first == {**second, "unit_id": 3}
        assert {k: first[k] for k in ("protocol", "transport", "baud", "parity", "stop_bits")} == {
            "protocol": "modbus", "transport": "rtu", "baud": 9600, "parity": "N", "stop_bits": 2,
        }  # fmt: skip
        assert first["path"].startswith("/dev/pts/")


def test_a_wrong_script_is_named_with_all_its_problems(tmp_path: Path) -> None:
    script = '[[fault]]\nname = "quiet"\ndevice = "copy"\n[[fault]]\nname = "stuck"\ndevice = "copy"\n'
    script += 'options = { point = "mood" }\n'
    with pytest.raises(ScenarioError) as error:
        load_scenario(str(scenario(tmp_path, script)))
    first, second = str(error.value).splitlines()
    assert "quay.toml: fault[0]: fault 'quiet' is not one of" in first
    assert "quay.toml: fault[1]: fault stuck: point = 'mood' is not one of" in second


def test_the_command_line_switches_the_one_simulator_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    runner = CliRunner()

    def sim(*arguments: str) -> tuple[int, str]:
        done = runner.invoke(app, list(arguments))
        return done.exit_code, done.output

    code, said = sim("fault", "silence", "on", "--device", "copy")
    assert (code, "no simulator runs here" in said) == (4, True)
    command = ["python", "-m", "firmware_sim.cli", "run", str(scenario(tmp_path))]
    with Process(command, "ready ") as process:
        hit = f"quay, process {process.child.pid}"
        assert sim("fault", "exception", "on", "--device", "copy", "--option", "code=6") == (
            0, f"on   exception  copy  code=6 first=0 last=65535 rate=1.0  ({hit})\n",
        )  # fmt: skip
        code, said = sim("faults", "--scope", "transport")
        assert said.endswith(f"\n{hit}:\non   exception  copy  code=6 first=0 last=65535 rate=1.0\n")
        assert "silence  " in said and "counter-reset" not in said
        port = json.loads(process.ready_line.removeprefix("ready "))["control"]
        switched = sim("fault", "exception", "off", "--control-port", str(port))
        assert switched == (0, f"off  exception  copy  ({hit})\n")
        assert sim("fault", "exception", "off") == (0, f"exception was not on ({hit})\n")
        for wrong, sentence in (
            (("quiet", "on"), "'quiet' is not one of"),
            (("silence", "perhaps"), "write on or off"),
            (("silence", "on", "--device", "copy", "--option", "rate"), "write key=value"),
            (("silence", "on", "--device", "copy", "--option", "rate=9"), "rate = '9'; give a number from 0 to 1"),
        ):
            code, said = sim("fault", *wrong)
            assert (code, sentence in said) == (2, True), said
    assert sim("fault", "silence", "off")[0] == 4
    assert sim("faults")[0] == 0, "the list needs no simulator"
