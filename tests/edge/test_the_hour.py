"""The hour on the quay, command by command: from a port that nobody knows to a meter that is signed for.

scan, probe, site new, check, plan, watch, commission (both sheets), run, doctor, against the simulated quay in the
middle of a call, with an embedded broker and a store: what the agent reads is confirmed by the database.
"""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from processes import Process, free_port
from typer.testing import CliRunner

from edge.cli import app
from edge.config import LoadedSite
from edge.site_cli import app as site_app
from edge.watch import Watched
from gateway.fleet_cli import fleet
from gateway.store import open_store

EPOCH_NS = 1_791_957_600_000_000_000
CALL_S = 2400  # of the scenario: in the middle of the ferry's charge
LONG_S = 180.0


def said(command: Any, *words: object, code: int = 0) -> str:
    """What a command prints, with the exit code that it must have."""
    done = CliRunner().invoke(
        command, [str(word) for word in words], env={"LANG": "en_GB.UTF-8", "COLUMNS": "120"}
    )
    if folder := os.environ.get("BOLLARD_HOUR_OUT"):  # for the documentation
        with Path(folder, "hour.txt").open("a") as out:
            out.write(f"$ {' '.join(map(str, words))}\n{done.output}\n")
    assert done.exit_code == code, done.output
    return done.output


def display_of(site: Path, *points: str) -> list[str]:
    """What the meter's display shows: the simulator has none, so a fresh look at its registers, typed by hand."""

    async def look() -> list[str]:
        async with asyncio.timeout(LONG_S), Watched(LoadedSite.load(site), ["meter-1"]) as watched:
            seen = watched.devices["meter-1"]
            index = seen.profile.index
            while any(seen.values[index[name]] is None for name in points):
                watched.look()
                await asyncio.sleep(0.05)
            return [
                f"{name}={seen.values[index[name]]:.0f} {seen.profile.points[index[name]].unit}" for name in points
            ]

    return [word for reading in asyncio.run(look()) for word in ("--reading", reading)]


@pytest.mark.usefixtures("kernels")
def test_the_whole_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    clock, site, shore = tmp_path / "clock.json", tmp_path / "calais.toml", tmp_path / "shore.toml"
    origin_ns = time.monotonic_ns() - CALL_S * 1_000_000_000
    clock.write_text(json.dumps({"epoch_ns": EPOCH_NS, "speed": 1.0, "origin_monotonic_ns": origin_ns}))
    port = free_port()
    shore.write_text(f'schema = 1\n[store]\nurl = "sqlite:store.db"\n[broker]\nembedded = true\nport = {port}\n')
    sim = ["python", "-m", "firmware_sim.cli", "run", "demo-port", "--sim-clock", str(clock), "--port-base", "0"]
    with Process(sim, timeout_s=LONG_S) as quay:
        devices = json.loads(quay.ready_line.removeprefix("ready"))["devices"]
        meter, charger = (f"127.0.0.1:{devices[name]['port']}" for name in ("meter-1", "charger-1"))
        told = said(app, "scan", meter, charger, "--unit", "1", "--timeout-s", "30")
        assert f"{meter} · Modbus TCP · unit 1" in told and "generic-meter (100 %)" in " ".join(told.split())
        told = said(
            app, "probe", f"modbus://{meter}/1", "--once", "--profile", "generic-meter", "--timeout-s", "30"
        )
        assert "frequency" in told
        said(
            site_app, "new", "--name", "calais", "--gateway", "gw-berth-6", "--broker", f"127.0.0.1:{port}",
            "--device", f"meter-1=generic-meter@modbus://{meter}/1",
            "--device", f"charger-1=generic-charger@modbus://{charger}/1",
            "--berth", "berth-6=charger-1,meter-1", "--no-time-server", "--origin", "sim", "--out", site,
        )  # fmt: skip
        assert "all right" in said(app, "check", "--site", site)
        assert "fine" in said(app, "plan", "--site", site)
        assert "energy_import_total_wh" in said(app, "watch", "--site", site, "--once")
        one = ("commission", "--site", site, "--device", "meter-1", "--by", "A. Martin")
        first = display_of(site, "energy_import_total_wh", "voltage_l1_v", "frequency_hz")
        told = said(app, *one, "--no-doctor", *first)
        assert "meter-1: signed by A. Martin." in told

        with Process(["python", "-m", "gateway.ingest_cli", "--shore", str(shore)], timeout_s=LONG_S) as ashore:
            run = ["python", "-m", "edge.cli", "run", "--site", str(site)]
            with Process(run, timeout_s=LONG_S) as agent:
                second = display_of(site, "power_w", "energy_import_total_wh", "current_l1_a")
                told = said(app, *one, "--no-doctor", "--load", "--watch-s", "8", *second)
                assert "no longer provisional" in told and "meter and tower" in told
                wait_for_receipts(tmp_path / "store.db")
                told = said(app, "doctor", "--site", site, "--wait-s", LONG_S)
                for line in ("a test row has arrived in the database", "meter-1: both sheets are signed",
                             "meter-1: confirmed ashore until", "charger-1 answers"):  # fmt: skip
                    assert line in told
                wait_for_fleet(shore)
                assert agent.terminate(LONG_S) == 0, agent.said[-5:]
            assert any("waiting=0" in line for line in agent.said[-2:]), agent.said[-5:]
            assert ashore.terminate() == 0
    store = open_store(f"sqlite:{tmp_path / 'store.db'}")
    try:
        codes = store.columns("event", None, ("text",), 0, 2**62, site="calais").tags["code"]
        assert "doctor_ran" in set(codes)
        assert len(store.columns("meter", "meter-1", ("power_w",), 0, 2**62, site="calais")) > 5
    finally:
        store.close()


def wait_for_receipts(file: Path) -> None:
    end_s = time.monotonic() + LONG_S
    while time.monotonic() < end_s:
        if file.exists():
            store = open_store(f"sqlite:{file}")
            try:
                if store.count("calais", "gw-berth-6") > 10:
                    return
            finally:
                store.close()
        time.sleep(0.1)
    raise AssertionError("no row has arrived in the store")


def wait_for_fleet(shore: Path) -> None:
    """The agent has told ashore who has signed; its clock follows no time server, and it says so."""
    front = typer.Typer()
    front.command()(fleet)
    end_s = time.monotonic() + LONG_S
    while time.monotonic() < end_s:
        (seen,) = json.loads(said(front, "--shore", shore, "--json", code=1))
        if seen["gateway"] == "gw-berth-6" and seen["troubles"] == ["clock_untrusted"]:
            return
    raise AssertionError(seen)
