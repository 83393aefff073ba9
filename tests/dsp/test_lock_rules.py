"""Rules of a lock: the twin, a truthful lock that stays silent, and planted faults that do not."""

import os
from typing import Any

import lock_days as ld
import naive_rules
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lock_plants import plant

from dsp import lock_rules as r
from dsp import lock_topology as top

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
NAN = float("nan")
SIZE = ld.Size()
HEAD = top.Head(sluice_m2=(1.5, 1.5))  # 0.6 x 2.5 m2: less than what flows
LOCK = top.Lock((HEAD, HEAD), (SIZE.area_m2,))
DAYS = int(os.environ.get("BOLLARD_LOCK_DAYS", "40"))  # benchmarks/test_locks.py runs 1 000


def run(day: ld.Day, topology: Any, state: Any = None) -> Any:
    raised = np.zeros(len(day.t_ns), np.int64)
    columns = (day.gates, day.sluices, day.lights, day.levels, day.mode, day.heartbeat, day.in_lockage)
    r.run(r.init() if state is None else state, topology, day.t_ns, *columns, raised)
    return raised


def names(mask: int) -> set[str]:
    return {rule for i, rule in enumerate(r.RULES) if mask >> i & 1}


def scan(
    state: Any, topology: Any, second: int, gates: Any, sluices: Any, lights: Any = None, levels: Any = None,
    mode: float = 1.0, heartbeat: float | None = None, in_lockage: float = 0.0,
) -> set[str]:  # fmt: skip
    count = topology[0]
    lights = [0.0] * int(count["lights"]) if lights is None else lights
    levels = [10.0] * (int(count["heads"]) + 1) if levels is None else levels
    columns = [np.array(column, dtype=float) for column in (gates, sluices, lights, levels)]
    beat = float(second) if heartbeat is None else heartbeat
    return names(r.step(state, topology, second * S, *columns, mode, beat, in_lockage))


def test_a_truthful_lock_is_never_accused() -> None:
    topology = top.pack(LOCK)
    for seed in range(DAYS):
        raised = run(ld.day(seed), topology)
        assert not raised.any(), (seed, np.flatnonzero(raised)[:3], names(int(raised.max())))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("rule", r.RULES)
def test_every_planted_incoherence_is_found_within_one_scan(rule: str, apart: bool) -> None:
    """Within one scan of the first that shows it; with one more where signals come with several requests."""
    head = top.Head(sluice_m2=(1.5, 1.5), sluice_request=1, light_request=2)
    lock = top.Lock((head, head), (SIZE.area_m2,), level_request=3) if apart else LOCK
    topology, rng, planted = top.pack(lock), np.random.default_rng(5), 0
    bit = 1 << r.RULES.index(rule)
    late = 1 if apart else 0
    for seed in range(12):
        day = ld.day(seed)
        if (at := plant(day, rule, rng)) is None:
            continue
        planted += 1
        found = np.flatnonzero(run(day, topology) & bit)
        assert len(found) and at <= found[0] <= at + 1 + late, (seed, at, found[:3])
    assert planted >= 6


maybe_gate = st.one_of(st.none(), st.integers(0, 4))
maybe = st.one_of(st.none(), st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(2, 3))
def test_one_scan_agrees_with_the_twin(data: st.DataObject, heads: int) -> None:
    per_head = [
        top.Head(data.draw(st.integers(1, 2)), (1.0,) * data.draw(st.integers(0, 2)), 1) for _ in range(heads)
    ]
    lock = top.Lock(per_head, [1000.0] * (heads - 1))
    gate_head = [h for h, head in enumerate(per_head) for _ in range(head.gates)]
    sluice_head = [h for h, head in enumerate(per_head) for _ in head.sluice_m2]
    light_head = list(range(heads))
    gates = [data.draw(maybe_gate) for _ in gate_head]
    sluices = [data.draw(maybe) for _ in sluice_head]
    lights = [data.draw(maybe) for _ in light_head]
    expected = naive_rules.shapes(gate_head, sluice_head, light_head, heads, gates, sluices, lights)
    state, topology = r.init(), top.pack(lock)
    found = scan(
        state, topology, 1,
        [NAN if g is None else g for g in gates],
        [NAN if o is None else float(o) for o in sluices],
        [NAN if g is None else 2.0 * g for g in lights],
    )  # fmt: skip
    unknown = names(int(state["unknown"][0]))
    off = top.not_evaluated(lock)
    for rule, answer in expected.items():
        if rule not in off:
            assert ((rule in found), (rule in unknown)) == (answer is True, answer is None), rule


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(maybe, st.booleans()), max_size=30), st.booleans())
def test_over_many_scans_it_agrees_with_the_twin(rows: list[tuple[bool | None, bool]], apart: bool) -> None:
    head = top.Head(sluice_m2=(1.0,), lights=0, sluice_request=int(apart))
    topology, state = top.pack(top.Lock((head, head), (1000.0,))), r.init()
    found = []
    for i, (opposite, maintenance) in enumerate(rows):
        sluice = NAN if opposite is None else float(opposite)
        got = scan(state, topology, i, [2, 0], [0, sluice], mode=2.0 if maintenance else 1.0)
        if "sluice_opposite_open" in got:
            found.append(i)
    verdicts = [opposite for opposite, _ in rows]
    assert found == naive_rules.scans_that_raise(verdicts, apart, [m for _, m in rows])


def test_same_head_sluices_may_stay_open_while_its_gate_opens_at_equal_level() -> None:
    topology, state = top.pack(LOCK), r.init()
    assert scan(state, topology, 1, [0, 1], [0, 0, 1, 1]) == set()
    assert scan(state, topology, 2, [0, 2], [0, 0, 1, 1]) == set()
    assert scan(state, topology, 3, [0, 3], [0, 0, 1, 1]) == {"sluice_open_gate_closing"}
    assert state["at"][0][r.SLUICE_CLOSING].tolist() == [1, 2]
    scan(state, topology, 4, [0, 3], [0, 0, 0, 0])
    assert names(int(state["cleared"][0])) == {"sluice_open_gate_closing"}


def test_maintenance_inhibits_and_shows_it() -> None:
    topology, state = top.pack(LOCK), r.init()
    assert scan(state, topology, 1, [2, 2], [0] * 4, mode=2.0) == set()
    assert names(int(state["inhibited"][0])) == {"gates_opposite_open"}
    assert scan(state, topology, 2, [2, 2], [0] * 4, mode=1.0) == {"gates_opposite_open"}
    assert int(state["inhibited"][0]) == 0


def test_a_dead_heartbeat_is_told_in_maintenance_too() -> None:
    topology, state = top.pack(LOCK), r.init()
    found = [scan(state, topology, i, [2, 0], [0] * 4, mode=2.0, heartbeat=7.0) for i in range(14)]
    assert [i for i, rules in enumerate(found) if rules] == [11]


def test_a_double_lock_is_judged_by_what_separates_its_reaches() -> None:
    head = top.Head(sluice_m2=(1.0,), lights=0)
    topology = top.pack(top.Lock((head, head, head), (900.0, 900.0)))
    for second, gates, sluices, expected in (
        (1, [2, 2, 0], [0, 0, 0], set()),  # the middle gate is not in use
        (2, [2, 0, 0], [0, 0, 1], set()),  # the lower chamber empties while a vessel enters the upper one
        (3, [2, 2, 0], [0, 0, 1], {"sluice_opposite_open"}),
        (4, [2, 2, 2], [0, 0, 0], {"gates_opposite_open"}),
        (5, [0, 0, 0], [1, 1, 1], {"sluices_opposite_open"}),
    ):
        assert scan(r.init(), topology, second, gates, sluices) == expected


def test_rules_that_signals_cannot_feed_are_listed_with_the_reason() -> None:
    bare = top.Head(sluice_m2=(), lights=0)
    lock = top.Lock(
        (bare, bare), (900.0,), lacking=frozenset({"level_chamber"}), off=frozenset({"heartbeat_frozen"})
    )
    told = top.not_evaluated(lock)
    assert told["heartbeat_frozen"] == "switched off"
    assert told["head_at_opening"] == "no signal for level_chamber"
    assert told["green_gate_not_open"] == "no lights declared"
    assert "gates_opposite_open" not in told
    state, topology = r.init(), top.pack(lock)
    scan(state, topology, 1, [2, NAN], [], levels=[1.0, NAN, 1.0])
    assert names(int(state["unknown"][0])) == {"gates_opposite_open"}


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        (top.Lock((HEAD, HEAD), ()), "2 heads and 0 chambers"),
        (top.Lock((HEAD,) * 5, (1.0,) * 4), "5 heads, at most 4"),
        (top.Lock((HEAD, HEAD), (1.0,), off=frozenset({"nonsense"})), "rule 'nonsense' is not known"),
    ],
)
def test_a_lock_that_cannot_be_is_refused(lock: top.Lock, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        top.pack(lock)


def test_a_restart_in_mid_day_changes_nothing() -> None:
    day, topology = ld.day(3), top.pack(LOCK)
    plant(day, "level_moves_closed", np.random.default_rng(1))
    whole = run(day, topology)
    state, cut = r.init(), 40_000
    for part in (slice(0, cut), slice(cut, None)):
        state = np.frombuffer(state.tobytes(), r.STATE).copy()
        columns = (day.gates, day.sluices, day.lights, day.levels, day.mode, day.heartbeat, day.in_lockage)
        raised = np.zeros(len(day.t_ns[part]), np.int64)
        r.run(state, topology, day.t_ns[part], *(column[part] for column in columns), raised)
        assert np.array_equal(raised, whole[part])
