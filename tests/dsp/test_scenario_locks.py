"""The locks of the shipped scenarios through the rules: a day without a word, each incoherence within a scan."""

import numpy as np
import plant_faults as pf
import plant_locks as pl
import pytest

from dsp import lock_rules
from firmware_sim.bench import Bench
from firmware_sim.faults import FaultBoard
from firmware_sim.plant.lock import Lock
from firmware_sim.scenario import load_scenario

pytestmark = pytest.mark.usefixtures("kernels")
LOCKS = (("canal-lock", "lock-1", 2_000), ("port-day", "lock-1", 2_000), ("port-day", "lock-2", 17_000))
DAY_S = 72_000  # to the end of canal-lock's maintenance in the evening, and more
EVERY_S, FOR_S = 5_300, 3_300  # faults one after the other, with time to be whole again; the first when it opens


def lock_of(scenario: str, name: str) -> Lock:
    """A lock as the scenario file has it, with a board of its own."""
    lock = Bench(load_scenario(scenario)).chambers[name, 1]
    lock.board, lock.device = FaultBoard(), name
    return lock


def day_of(lock: Lock, seed: int) -> pl.PlantDay:
    day = pl.run(lock, DAY_S, seed)
    second = (day.t_ns - pl.EPOCH_NS) // pl.NS
    for moment in lock.moments:
        if moment.kind == "mode":
            day.mode[(second >= moment.start_s) & (second < moment.end_s)] = moment.value
    return day


@pytest.mark.parametrize(("scenario", "name"), [lock[:2] for lock in LOCKS])
def test_a_day_of_a_shipped_scenario_has_all_its_lockages_and_no_incoherence(scenario: str, name: str) -> None:
    lock = lock_of(scenario, name)
    day = day_of(lock, 1)
    topology, areas_m2 = pf.topology_of(lock)
    found, phases = pf.lockages(day, areas_m2)
    assert not pf.judge(day, topology, phases).any()
    over = [x for x in day.lockages if "exit" in x.phases and pl.left_s(x) + 11 < DAY_S]
    assert len(over) > 15
    assert [int(cycle["direction"]) for cycle in found[: len(over)]] == [
        1 if x.direction == "up" else -1 for x in over
    ]


@pytest.mark.parametrize(("scenario", "name", "first_s"), LOCKS)
def test_each_incoherence_planted_into_a_scenario_is_told_within_one_scan(
    scenario: str, name: str, first_s: int
) -> None:
    """One after the other in one day; besides, nothing is told that the twin does not see by its words."""
    lock = lock_of(scenario, name)
    begins = {fault: first_s + i * EVERY_S for i, fault in enumerate(pf.RULE_OF)}
    for fault in pf.IN_THE_PLANT:
        pf.plant(lock, fault, begins[fault], begins[fault] + FOR_S)
    day = day_of(lock, 2)
    in_it = "lock-mode-change-in-cycle"
    begins[in_it] = next(int(x.phases["levelling"]) + 20 for x in day.lockages if x.start_s > begins[in_it])
    for fault in pf.RULE_OF.keys() - set(pf.IN_THE_PLANT):
        pf.show(day, fault, begins[fault], begins[fault] + FOR_S)
    topology, areas_m2 = pf.topology_of(lock)
    _, phases = pf.lockages(day, areas_m2)
    raised, truth = pf.judge(day, topology, phases), pf.shown(day, topology, phases)
    rules = dict(pf.RULE_OF)
    if len(day.heads) == 3:  # the gate that is not in use stands open, so it is a sluice against a gate
        rules["lock-opposite-sluices-open"] = "sluice_opposite_open"
    for fault, rule in rules.items():
        told = raised >> lock_rules.RULES.index(rule) & 1
        during = slice(begins[fault] - 1, begins[fault] + FOR_S)  # the first row is of second 1
        first, heard = np.flatnonzero(truth[rule][during]), np.flatnonzero(told[during])
        assert len(first) and len(heard), fault
        assert first[0] <= heard[0] <= first[0] + 1, fault
    wrong = [(int(i), r) for i in np.flatnonzero(raised) for r in pf.names(int(raised[i])) if not truth[r][i]]
    assert wrong == []


def test_every_rule_can_be_planted() -> None:
    assert set(pf.RULE_OF.values()) == set(lock_rules.RULES)
