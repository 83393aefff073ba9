"""The watchdog restarts an agent that hangs, and never one that meets a bad world."""

import asyncio
from pathlib import Path

import pytest
from chaos.disk import Disk, build, compiler
from plc_words import Plc
from supervisor import Supervisor

from edge.notify import Notify
from edge.rounds import Rounds

HERE = Path(__file__).parent
SITE = """
schema = 1
[site]
name = "port"
gateway = "gw"
[broker]
host = "127.0.0.1"
port = 1
[spool]
path = "{spool}/spool.db"
flush_s = 0.1
[clock]
require = false
[[device]]
name = "meter-1"
profile = "generic-meter"
host = "127.0.0.1"
port = {port}
interval_s = 0.1
timeout_s = 0.3
[device.meter]
max_power_w = 1e7
"""


def site_of(folder: Path, port: int, spool: Path | None = None) -> Path:
    site = folder / "site.toml"
    site.write_text(SITE.format(port=port, spool=spool or folder))
    return site


def edge_run(site: Path) -> list[str]:
    return ["python", "-m", "edge.cli", "run", "--site", str(site)]


def hanging(what: str, site: Path) -> list[str]:
    return ["python", str(HERE / "hanging.py"), what, "run", "--site", str(site)]


# The rule.


async def test_a_loop_is_late_when_rest_and_work_are_over() -> None:
    now_s = 100.0
    rounds = Rounds(lambda: now_s)
    task = asyncio.current_task()
    assert task is not None
    task.set_name("flush")
    rounds.expect("flush", work_s=60.0)
    rounds.expect("poll meter-1", work_s=60.0)
    now_s = 150.0
    rounds.rest(3600.0)  # a day's interval is no reason to be restarted
    assert rounds.late() == []
    now_s = 161.0
    assert rounds.late() == ["poll meter-1"]
    rounds.forget("poll meter-1")  # it has left the site file
    now_s = 150.0 + 3660.0
    assert rounds.late() == []
    now_s += 1.0
    assert rounds.late() == ["flush"]
    rounds.rest(0.5)  # back after all
    assert rounds.late() == []


def test_nobody_is_late_while_a_file_is_mended() -> None:
    now_s = 100.0
    rounds = Rounds(lambda: now_s)
    rounds.expect("flush", work_s=60.0)
    now_s = 170.0
    assert rounds.late() == ["flush"]
    rounds.excuse(3600.0)
    now_s = 3700.0
    assert rounds.late() == []
    now_s = 3771.0
    assert rounds.late() == ["flush"]


async def test_a_task_that_nobody_expects_is_never_late() -> None:
    rounds = Rounds()
    rounds.rest(0.0)
    assert rounds.late() == []


def test_without_a_service_manager_nothing_is_said() -> None:
    notify = Notify({"WATCHDOG_USEC": "1000000"})
    assert notify.watchdog_s == 0.0
    notify.ready("nobody hears this")


def test_a_watchdog_of_another_process_is_none_of_ours() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000"}
    assert Notify(environ | {"WATCHDOG_PID": "1"}).watchdog_s == 0.0
    assert Notify(environ).watchdog_s == 1.0
    Notify(environ).say("READY=1")  # a socket that has gone ends nothing


# Real agents.


@pytest.mark.skipif(not compiler(), reason="no C compiler here: apt-get install gcc")
@pytest.mark.usefixtures("kernels")
def test_a_silent_plc_a_full_disk_and_a_dead_broker_restart_nothing(tmp_path: Path) -> None:
    spool = tmp_path / "disk"
    spool.mkdir()
    disk = Disk(build(tmp_path), spool)
    with Plc() as plc:
        site = site_of(tmp_path, plc.port, spool)
        with Supervisor(edge_run(site), tmp_path, watchdog_s=8.0, env=disk.env) as service:
            service.until(lambda: service.ready and plc.reads > 3)
            disk.fill()
            service.until(lambda: "event=spool_refuses" in service.log and "event=no_broker" in service.log)
            plc.silent = True
            service.until(lambda: "event=unreachable" in service.log)
            fed = service.feeds
            service.until(lambda: service.feeds >= fed + 6)  # more than one whole watchdog_s with all three
            disk.free()
            service.until(lambda: "event=spool_works_again" in service.log)
            assert (service.starts, service.kills) == (1, 0), service.log


@pytest.mark.skipif(not compiler(), reason="no C compiler here: apt-get install gcc")
def test_a_start_on_a_full_disk_asks_for_time_and_then_runs_until_it_is_stopped(tmp_path: Path) -> None:
    spool = tmp_path / "disk"
    spool.mkdir()
    disk = Disk(build(tmp_path), spool)
    disk.fill()
    command = edge_run(site_of(tmp_path, 1, spool))
    with Supervisor(command, tmp_path, watchdog_s=8.0, env=disk.env) as service:
        service.until(lambda: "event=spool_refuses" in service.log)
        service.until(lambda: any(line.startswith("EXTEND_TIMEOUT_USEC=60") for line in service.said))
        disk.free()
        service.until(lambda: service.ready)
        assert service.starts == 1
        service.child.terminate()
        service.until(lambda: "STOPPING=1" in service.said)


@pytest.mark.parametrize("what", ["compute", "poll"])
@pytest.mark.usefixtures("kernels")
def test_a_hung_loop_restarts_the_agent(tmp_path: Path, what: str) -> None:
    with Plc() as plc:
        site = site_of(tmp_path, plc.port)
        with Supervisor(hanging(what, site), tmp_path, watchdog_s=3.0) as service:
            service.until(lambda: service.starts >= 2)
        assert service.kills >= 1, service.log
        assert "Fatal Python error: Aborted" in service.log  # and where each thread stood
        assert ("event=loop_hangs loops=['poll meter-1']" in service.log) == (what == "poll")
