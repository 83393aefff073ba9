"""`bollard edge scan`: what an engineer reads of it, and what the next command is."""

import asyncio
import json
import shlex
import signal
import sys
from pathlib import Path

import pytest
from edge_rows import load
from processes import listen_to_ctrl_c
from sim_meter import meter, meter_unit
from typer.testing import CliRunner

from drivers.bus import Buses
from edge.cli import app
from edge.clock import WallClock
from edge.local import LocalSocket
from edge.poll import Poller
from edge.site_cli import app as site
from firmware_sim.serial_line import SerialLine

LONG_S = 90.0


def plain(text: str) -> str:
    return " ".join(text.split())


async def scan(*words: str, folder: Path | None = None) -> tuple[int | None, str]:
    """Exit code and all that was said; `bollard edge scan … --lang en`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge.cli", "scan", *words, "--lang", "en", cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(LONG_S):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_what_is_found_is_told_with_the_command_that_comes_next(tmp_path: Path) -> None:
    """A meter with swapped words, a meter on a line, a port where nobody is; then the site file."""
    line = SerialLine({3: meter_unit()}, paced=False)
    path = line.start()
    try:
        async with meter(swapped=True, unit=3) as (_, port):
            code, said = await scan(
                path, f"127.0.0.1:{port}", "127.0.0.1:1", "--unit", "3", "--baud", "19200", "--parity", "N",
                "--listen-s", "0.5", "--timeout-s", "30",
            )  # fmt: skip
    finally:
        await line.stop()
    told = plain(said)
    assert code == 0, said
    assert f"{path} · Modbus RTU · 19200 8N2 · unit 3" in told
    assert "profiles that fit: generic-meter (100 %)" in told
    assert f"127.0.0.1:{port} · Modbus TCP · unit 3" in told
    assert "generic-meter (100 %, with the words of each value swapped)" in told
    assert "bollard profile new --like generic-meter --swap words --out meter-2.toml" in told
    assert "No connection, connection refused; nothing listens on that port: 127.0.0.1:1" in told
    begin = said.partition("To begin the site file")[2]
    words = shlex.split(begin.partition("\n")[2].replace("\\\n", " "))[3:]
    words = [{"SITE": "calais", "GATEWAY": "gw", "BROKER": "10.20.0.2"}.get(word, word) for word in words]
    (tmp_path / "meter-2.toml").write_text(
        (Path(__file__).parents[2] / "drivers" / "profiles" / "generic-meter.toml").read_text(encoding="utf-8")
    )
    done = CliRunner().invoke(site, ["new", *words, "--out", str(tmp_path / "calais.toml"), "--lang", "en"])
    assert done.exit_code == 0, done.output


async def test_ctrl_c_leaves_what_was_found_so_far() -> None:
    mute = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    async with meter() as (_, port), mute:
        silent = mute.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge.cli", "scan", f"127.0.0.1:{port}", f"127.0.0.1:{silent}", "--no-look",
            "--timeout-s", "60", "--lang", "en",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=listen_to_ctrl_c,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        async with asyncio.timeout(LONG_S):
            while not (await process.stderr.readline()).startswith(b"[2/2]"):
                pass
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    assert process.returncode == 130 and "Interrupted: 2 of 2 looked at." in err.decode()
    assert f"127.0.0.1:{port} · Modbus TCP · unit 1" in out.decode() and "Traceback" not in err.decode()


async def test_what_an_agent_polls_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with meter() as (server, port):
        loaded, buses = load(tmp_path, meter=port), Buses()
        pollers = {
            d.name: Poller(d, loaded.profiles[d.name], WallClock(), lambda *_: None, buses)
            for d in loaded.site.device
        }
        async with LocalSocket(loaded, pollers) as local:
            code, said = await scan(f"127.0.0.1:{port}", "--json")
        assert code == 0 and not server.connections
    (seen,) = json.loads(said[said.index("[\n") :])
    assert (seen["kind"], seen["why"]) == ("agent", str(local.path))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["127.0.0.1:1"], 4, "Nobody answers. Address, cable, firewall?"),
        (["10.20.0.0/24"], 2, "a network is not scanned; name the hosts"),
        (["127.0.0.1", "--port", "0"], 2, "--port 0: 0 is not within 1 to 65535"),
        (["127.0.0.1", "--unit", "1-300"], 2, "--unit 1-300: 1-300 is not within 0 to 255"),
        (["/dev/ttyS0", "--parity", "X"], 2, "--parity X: 'X' is not one of E, N, O"),
        (["/dev/none", "--baud", "9600"], 4, "is the adapter plugged in?"),
    ],
)
def test_what_is_wrong_ends_with_2_and_where_nobody_is_with_4(words: list[str], code: int, told: str) -> None:
    result = CliRunner().invoke(app, ["scan", *words, "--lang", "en"])
    assert result.exit_code == code and told in result.output, result.output
