"""Each fault alone on a running system: it is told in a clear message, and once it is over all goes on by itself.

One system serves all tests of this file, in their order; the last one judges what they have left.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from chaos import driver, journal, report
from chaos.disk import compiler
from chaos.faults import Faults
from chaos.plan import KINDS
from chaos.system import System, running

pytestmark = [
    pytest.mark.mosquitto, pytest.mark.influx, pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not compiler(), reason="no C compiler here: apt-get install gcc"),
]  # fmt: skip
DEADLINE_S = 180.0
WORKERS = "ingest-1 ingest-2"
LOST, BACK = r"event=broker_lost", r"event=broker_connected"
WAITING, WORKS = r"retry in", r"store works again after"
CASES = {  # kind, target -> whose log, what it says while the fault lasts, what afterwards
    ("kill", "gw-a"): ("gw-a", "", r"event=started .*replayed="),
    ("kill", "ingest-1"): ("ingest-1", "", r"^ready "),
    ("power-cut", "gw-a"): ("gw-a", "", r"event=started .*replayed="),
    ("clock-step", "gw-c"): ("gw-c", r"event=clock_step step_s=", ""),
    ("boot-without-time", "gw-a"): ("gw-a", r"event=clock_waits", r"event=clock_known"),
    ("disk-full", "gw-a"): ("gw-a", r"spool\.db: the disk is full; make room", r"event=spool_works_again"),
    ("disk-full", "shore"): (WORKERS, r"book\.db: .*full.*retry in", WORKS),
    ("kill-broker", "broker"): ("gw-a", LOST, BACK),
    ("wipe-broker", "broker"): ("gw-a", LOST, BACK),
    ("restart-broker", "broker"): ("gw-a", LOST, BACK),
    ("expired-certificate", "gw-c"): ("gw-c", r"our certificate may have expired", BACK),
    ("network-cut", "gw-a"): ("gw-a", LOST, BACK),
    ("network-cut", "shore"): (WORKERS, LOST, BACK),
    ("network-half-open", "gw-a"): ("gw-a", LOST, BACK),
    ("network-half-open", "shore"): (WORKERS, LOST, BACK),
    ("network-slow", "gw-a"): ("gw-a", "", ""),
    ("doubled-messages", "gw-a"): ("gw-a", "", ""),
    ("reordered-messages", "gw-a"): ("gw-a", "", ""),
    ("kill-database", "database"): (WORKERS, r"no answer \(\w+\); retry in", WORKS),
    ("database-refuses-connections", "database"): (WORKERS, r"no answer \(\w+\); retry in", WORKS),
    ("database-silent", "database"): (WORKERS, r"no answer \(ReadTimeoutError\); retry in", WORKS),
    ("database-slow", "database"): (WORKERS, "", ""),
    ("database-loses-answers", "database"): (WORKERS, r"no answer \(\w+\); retry in", WORKS),
    ("database-400", "database"): ("gw-a gw-c", r"event=row_refused .*InfluxDB refuses it: unable to parse", ""),
    ("database-422", "database"): ("gw-a gw-c", r"event=row_refused .*InfluxDB refuses it: failure writing", ""),
    ("database-401", "database"): (WORKERS, r"the token is refused \(401: .*\); check it and its rights", WORKS),
    ("database-404", "database"): (WORKERS, r"bucket not found; check org and bucket; retry in", WORKS),
    ("database-429", "database"): (WORKERS, r"answers 429: exceeded limit; retry in", WORKS),
    ("database-500", "database"): (WORKERS, r"answers 500: .*no space left on device; retry in", WORKS),
    ("database-503", "database"): (WORKERS, r"answers 503: service unavailable; retry in", WORKS),
}

ON_THE_WIRE = {"doubled-messages": "doubled", "reordered-messages": "swapped"}  # what the proxy counts


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running(tmp_path_factory.mktemp("chaos"), ("gw-a", "gw-c")) as system:
        yield system


class Logs:
    """What some processes say from now on."""

    def __init__(self, system: System, names: str) -> None:
        self._files = [system.child(name).log for name in names.split()]
        self._from = [file.stat().st_size for file in self._files]

    def say(self, pattern: str) -> bool:
        pairs = zip(self._files, self._from, strict=True)
        said = "\n".join(file.read_bytes()[at:].decode(errors="replace") for file, at in pairs)
        return re.search(pattern, said, re.MULTILINE) is not None


async def until(holds: Callable[[], object], what: str, system: System) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > end_s:
            said = "\n".join(f"{child.name}:\n{child.tail(8)}" for child in system.children())
            raise AssertionError(f"{what}: not within {DEADLINE_S:.0f} s\n{said}")
        await asyncio.sleep(0.1)


def sealed_rows(system: System) -> dict[Path, int]:
    return {gateway.spool: journal.tally(gateway.spool).sealed for gateway in system.gateways.values()}


def confirmed(sealed: dict[Path, int]) -> bool:
    """Whether as many rows have been confirmed as there were then."""
    now = {file: journal.tally(file) for file in sealed}
    return all(tally.sealed - tally.waiting >= sealed[file] for file, tally in now.items())


async def test_every_kind_of_the_plan_is_here() -> None:
    assert {kind.name for kind in KINDS} == {kind for kind, _ in CASES}


@pytest.mark.parametrize(("kind", "target"), CASES)
async def test_it_is_told_and_passes(system: System, kind: str, target: str) -> None:
    whose, during, afterwards = CASES[kind, target]
    logs = Logs(system, whose)
    async with Faults(system, 1).fault(kind, target):
        if target == "shore" and kind == "disk-full":
            system.gateways["gw-a"].uplink.cut()  # it comes back with its catalogue, which the book is to keep
        if kind in ON_THE_WIRE:
            uplink, counter = system.gateways[target].uplink, ON_THE_WIRE[kind]
            await until(lambda: getattr(uplink, counter) > 0, f"messages are {counter}", system)
        if during:
            await until(lambda: logs.say(during), f"{during!r} in the log of {whose}", system)
        else:
            before = sealed_rows(system)
            await until(lambda: sealed_rows(system) != before, "rows come", system)
    sealed = sealed_rows(system)
    await until(lambda: confirmed(sealed), "what was sealed until the end of the fault is confirmed", system)
    if afterwards:
        await until(lambda: logs.say(afterwards), f"{afterwards!r} in the log of {whose}", system)


async def test_nothing_was_lost_or_doubled_by_all_of_them(system: System) -> None:
    await system.settle(DEADLINE_S)
    made = report.Run(0, ())
    await driver.judge(system, made)
    assert not made.problems, "\n".join(made.problems)
    assert sum(verdict.refused for verdict in made.verdicts) > 0  # by 400 and 422
