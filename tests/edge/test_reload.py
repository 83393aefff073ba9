"""A changed site file under a running agent: no row lost, none doubled; a wrong one changes nothing."""

import asyncio
import contextlib
import json
import logging
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from plc_words import Plc
from supervisor import Supervisor

from drivers.row import Quality, empty_row
from edge import agent as agent_module
from edge import wire
from edge.agent import Agent
from edge.clock import WallClock
from edge.config import LoadedSite
from edge.pipeline import Pipeline
from edge.poll import Poller
from edge.polling import Polling
from edge.rounds import WORK_S, Rounds

HEAD = """
schema = 1
[site]
name = "port"
gateway = "{gateway}"
[broker]
host = "127.0.0.1"
port = 1
[spool]
flush_s = 0.1
[clock]
require = false
"""
DEVICE = """
[[device]]
name = "{name}"
profile = "counts.toml"
host = "127.0.0.1"
port = {port}
interval_s = {interval_s}
"""
COUNTS = """
schema = 1
kind = "meter"
model = "counts its reads"
protocol = "modbus"
source = "a test"
[[point]]
name = "power_w"
address = 0
type = "uint16"
"""
NS = 1_000_000_000
pytestmark = pytest.mark.usefixtures("kernels")


def write(folder: Path, *devices: tuple[str, int, float], gateway: str = "gw") -> Path:
    """A site file of meters: name, port, interval."""
    text = HEAD.format(gateway=gateway)
    for name, port, interval_s in devices:
        text += DEVICE.format(name=name, port=port, interval_s=interval_s)
    (folder / "counts.toml").write_text(COUNTS)
    site = folder / "site.toml"
    site.write_text(text)
    return site


@asynccontextmanager
async def running(site: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    monkeypatch.setattr(agent_module, "DRAIN_S", 0.1)
    stop, ready = asyncio.Event(), asyncio.Event()
    agent = Agent(LoadedSite.load(site), WallClock(), "test")
    task = asyncio.create_task(agent.run(stop, ready.set))
    await asyncio.wait_for(ready.wait(), 60.0)
    try:
        yield agent
    finally:
        stop.set()
        await asyncio.wait_for(task, 60.0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60.0):
        while not condition():  # noqa: ASYNC110 - the PLC is a thread
            await asyncio.sleep(0.02)


def rows(folder: Path) -> list[wire.RowLine]:
    """All rows on disk, in the order in which they came; the broker is dead, so none has left."""
    db = sqlite3.connect(f"file:{folder}/spool.db?mode=ro", uri=True)
    lines = [wire.decode_row(line) for (line,) in db.execute("SELECT line FROM row ORDER BY rowid")]
    db.close()
    return lines


def numbers(found: list[wire.RowLine], device: str) -> list[int]:
    """Of each row of a device the number that its PLC had given this read; 0 where it had no answer."""
    mine = [row for row in found if row.kind == "meter" and row.tags["device"] == device]
    return [int(row.fields.get("power_w", 0)) for row in mine]


async def test_a_new_device_and_a_changed_one_cost_the_others_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Plc() as stays, Plc() as changes, Plc() as comes:
        site = write(tmp_path, ("stays", stays.port, 0.1), ("changes", changes.port, 0.1))
        async with running(site, monkeypatch) as agent:
            await until(lambda: stays.reads > 5 and changes.reads > 5)
            state = agent._pipeline.checkpoint
            before = json.loads(state())["states"]
            write(tmp_path, ("stays", stays.port, 0.1), ("changes", changes.port, 0.2), ("comes", comes.port, 0.1))
            agent.reload()
            await until(lambda: comes.reads > 3)
            after = json.loads(state())["states"]
            asked = changes.reads
            await until(lambda: stays.reads > 15 and changes.reads > asked + 3)
        found = rows(tmp_path)
        assert stays.connections == 1  # its poller never noticed
        assert changes.connections == 2
        assert before.keys() < after.keys()  # what was computed goes on; the newcomer's begins
        for name, plc in (("stays", stays), ("changes", changes), ("comes", comes)):
            told = numbers(found, name)
            # The read that a reload or the stop cut off was never a row: at most one for each.
            lost = set(range(1, plc.reads + 1)) - set(told)
            assert len(lost) <= plc.connections, (name, lost)
            assert len(told) == len(set(told)), (name, told)  # none is there twice
        instants = Counter((row.kind, row.tags.get("device"), row.tags.get("code"), row.t_ns) for row in found)
        assert instants.most_common(1)[0][1] == 1


async def test_the_state_of_the_computations_goes_on(tmp_path: Path) -> None:
    site = write(tmp_path, ("m", 1, 0.1))
    pipeline = Pipeline(LoadedSite.load(site))
    for second in range(90):
        row = empty_row(1, (1_790_000_000 + second) * NS, Quality.GOOD)
        row.values[0] = 1000.0
        pipeline.take("m", row)
    waits, state = list(pipeline.entries), json.loads(pipeline.checkpoint())
    write(tmp_path, ("m", 1, 0.1), ("n", 1, 0.1))
    pipeline.adopt(LoadedSite.load(site))
    now = json.loads(pipeline.checkpoint())
    assert pipeline.entries == waits
    assert now["states"]["meter m"] == state["states"]["meter m"]
    assert now["last_ns"] == state["last_ns"]


async def test_a_wrong_file_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Plc() as plc:
        site = write(tmp_path, ("m", plc.port, 0.1))
        good = site.read_text()
        async with running(site, monkeypatch) as agent:
            await until(lambda: plc.reads > 3)
            for text, told in (
                (good.replace("interval_s = 0.1", "interval_s = 0.01"), "interval_s = 0.01"),
                (good.replace("[site]", "[site"), "at line 3"),
                (write(tmp_path, ("m", plc.port, 0.1), gateway="other").read_text(), "[site] changed"),
            ):
                caplog.clear()
                site.write_text(text)
                agent.reload()
                await until(lambda: "event=site_refused" in caplog.text)
                assert told in caplog.text
            asked = plc.reads
            await until(lambda: plc.reads > asked + 5)
            assert plc.connections == 1
            site.write_text(good)  # and a right one is taken again
            agent.reload()
            await until(lambda: "event=site_reloaded" in caplog.text)
        assert len(numbers(rows(tmp_path), "m")) >= plc.reads - 1


async def test_what_cannot_be_gone_on_with_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> int:
        raise ValueError("no state can be made of that")

    with Plc() as plc:
        site = write(tmp_path, ("m", plc.port, 0.1))
        async with running(site, monkeypatch) as agent:
            await until(lambda: plc.reads > 3)
            with monkeypatch.context() as patched:
                patched.setattr(Pipeline, "resume", fails)
                write(tmp_path, ("m", plc.port, 0.2))
                agent.reload()
                await until(lambda: "no state can be made of that" in caplog.text)
            assert agent._loaded.site.device[0].interval_s == 0.1
            asked = plc.reads
            await until(lambda: plc.reads > asked + 5)
        assert len(numbers(rows(tmp_path), "m")) >= plc.reads - plc.connections


async def test_a_poller_that_does_not_end_is_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, may_end = 0.0, asyncio.Event()

    async def stubborn(_: Poller) -> None:
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    monkeypatch.setattr(Poller, "run", stubborn)
    rounds = Rounds(lambda: now_s)
    loaded = LoadedSite.load(write(tmp_path, ("m", 1, 0.1)))
    polling = Polling(loaded, WallClock(), lambda _device, _row: None, rounds)
    async with asyncio.timeout(60.0), asyncio.TaskGroup() as group:
        polling.start(group)
        await asyncio.sleep(0)
        ends = group.create_task(polling.stop())
        await asyncio.sleep(0)
        now_s = WORK_S + 1.0
        assert rounds.late() == ["poll m"]
        may_end.set()
        await ends
    assert rounds.late() == []


def test_a_signal_reloads_the_site_file(tmp_path: Path) -> None:
    site = write(tmp_path, ("m", 1, 0.1))
    with Supervisor(["python", "-m", "edge.cli", "run", "--site", str(site)], tmp_path, 30.0) as service:
        service.until(lambda: service.ready)
        write(tmp_path, ("m", 1, 0.1), ("n", 1, 0.1))
        service.said.clear()
        service.child.send_signal(signal.SIGHUP)
        service.until(lambda: "event=site_reloaded" in service.log and "READY=1" in service.said)
        assert "RELOADING=1" in service.said
        assert "anew=['m', 'n']" in service.log  # they share an address
        assert service.starts == 1
