"""A run: bring the system up, hit it with a plan of faults, let it recover, and judge."""

import asyncio
import os
import shutil
import time
from contextlib import closing
from pathlib import Path

from chaos import journal, oracle, plan, report, site
from chaos.faults import Faults
from chaos.system import System, running
from servers.influx import TOKEN

from gateway.book import Book
from gateway.store import open_store

KEPT = os.environ.get("BOLLARD_CHAOS_OUT")  # a folder for plan, report and logs
START_S = 300.0  # and to judge; a run that takes longer hangs
RECOVERY_S = 240.0  # back-offs reach 30 s, twice in a row; a busy machine takes its time


async def run(folder: Path, seed: int, count: int) -> report.Run:
    """All of it. What was found is printed, and stands in `report.txt` of the folder."""
    faults = plan.draw(seed, count)
    (folder / "plan.txt").write_text(report.plan_text(faults) + "\n")
    print(f"plan of seed {seed}, kept in {folder}:\n{report.plan_text(faults)}", flush=True)
    made = report.Run(seed, faults)
    began_s = time.monotonic()
    async with asyncio.timeout(START_S + 2 * faults[-1].at_s + 2 * RECOVERY_S), running(folder) as system:
        switch = Faults(system, seed)
        await _hit(system, switch, faults)
        await system.settle(RECOVERY_S)
        made.simulated_s = (system.simulated_ns(time.monotonic_ns()) - site.START_NS) / 1e9
        await judge(system, made)
        made.figures |= {
            "deaths of agents": sum(len(agent.deaths) for agent in system.agents()),
            "deaths of workers": sum(len(worker.deaths) for worker in system.workers.values()),
            "ends that nobody asked for": ", ".join(ends(system)) or "none",
            "booted while the clock was wrong": ", ".join(g.name for g in system.gateways.values() if g.guesses)
            or "none",
            "pages lost by power cuts": switch.pages_lost,
            "messages doubled": sum(way.doubled for way in system.ways()),
            "messages reordered": sum(way.swapped for way in system.ways()),
        }
    made.real_s = time.monotonic() - began_s
    told = report.text(made)
    (folder / "report.txt").write_text(told + "\n")
    print(told, flush=True)
    if KEPT:
        _keep(folder, Path(KEPT) / f"seed-{seed}")
    return made


def _keep(folder: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for file in [folder / "plan.txt", folder / "report.txt", *folder.glob("*.log")]:
        shutil.copy(file, kept)


async def _hit(system: System, switch: Faults, faults: list[plan.Fault]) -> None:
    """Each fault at its time; a bug in one ends the run."""
    async with asyncio.TaskGroup() as group:
        for fault in faults:
            await asyncio.sleep(system.origin_ns / 1e9 + fault.at_s - time.monotonic())
            group.create_task(switch.hit(fault), name=str(fault))


async def judge(system: System, made: report.Run) -> None:
    """Compare what was sealed with what the store has, gateway by gateway."""
    address = system.influx.access.store_url("chaos")
    with (
        closing(open_store(address, token=TOKEN, create=False)) as store,
        closing(Book(system.folder / "disk" / "book.db")) as book,
    ):
        refused = book.refused()
        for gateway in system.gateways.values():
            sealed = journal.read(gateway.spool, gateway.owner)
            loaded = oracle.load(gateway.folder)
            held = await asyncio.to_thread(oracle.held_rows, store, loaded)
            verdict = oracle.judge_ledger(gateway.name, sealed, held, refused)
            oracle.judge_computations(verdict, sealed, loaded, gateway.guesses)
            deaths = [tuple(map(system.simulated_ns, death)) for death in gateway.agent.deaths]
            meters = [device.name for device in loaded.site.device if device.meter is not None]
            if not gateway.stepped:  # else nobody knows where in its time it was dead
                oracle.judge_coverage(verdict, held, meters, deaths)
            most_ahead_s = site.STEP_S if gateway.stepped else 0.0
            await _judge_registers(
                system, verdict, sealed, meters, site.FOREVER_S if gateway.guesses else most_ahead_s
            )
            made.verdicts.append(verdict)


async def _judge_registers(
    system: System, verdict: oracle.Verdict, sealed: journal.Journal, meters: list[str], most_ahead_s: float
) -> None:
    """What was read is what the plant's register showed while the answer was on its way."""
    late_ns = int(ON_THE_WAY_S * site.SPEED * 1e9)
    ahead_ns = int(most_ahead_s * 1e9)  # the agent's time; an outage takes some of it back
    for device in meters:
        readings = list(oracle.register_readings(sealed, device))
        times = [max(site.START_NS, t) for t_ns, _ in readings for t in (t_ns - ahead_ns - late_ns, t_ns)]
        truth = (await system.ask(registers_at=times))["registers"][device]
        wrong = [
            (device, t_ns, read_wh, least_wh, most_wh)
            for (t_ns, read_wh), least_wh, most_wh in zip(readings, truth[::2], truth[1::2], strict=True)
            if not least_wh <= read_wh <= most_wh
        ]
        verdict.complain("readings that the plant's register did not show", wrong)


def ends(system: System) -> list[str]:
    """Who has ended by itself, and with what code."""
    return [f"{child.name} {code}" for child in system.children() for code in child.codes]


ON_THE_WAY_S = float(os.environ.get("BOLLARD_CHAOS_LATE_S", "2.0"))  # real; the agent's deadline for an answer
