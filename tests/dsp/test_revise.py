"""Late rows and recovered gaps: the minutes that change, and only these, come again, and sums stay exact."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import energy
from dsp.energy import MINUTE_NS, OUT
from dsp.revise import replace, revise

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
START_NS = 1_790_000_000 * S - (1_790_000_000 * S) % MINUTE_NS
SETTINGS = (5 * S, 10e6, 2.0**32)


def history(seed: int, seconds: int) -> tuple[Any, Any, Any]:
    """1 Hz rows whose register counts what really flowed."""
    rng = np.random.default_rng(seed)
    t_ns = START_NS + np.arange(seconds, dtype=np.int64) * S + rng.integers(0, 10**8, seconds)
    power_w = np.abs(np.cumsum(rng.normal(0.0, 2e5, seconds)))
    register_wh = np.floor(1e6 + np.cumsum(power_w) / 3600)
    return t_ns, power_w, register_wh


def computed(t_ns: Any, power_w: Any, register_wh: Any) -> tuple[Any, Any]:
    state, out = energy.init(), np.zeros(len(t_ns) + 5, OUT)
    n = energy.minutes(t_ns, power_w, register_wh, np.zeros(len(t_ns)), *SETTINGS, state, out)
    return out[:n], state


def revised(rows: tuple[Any, Any, Any], published: Any, state: Any | None = None) -> Any:
    t_ns, power_w, register_wh = rows
    scratch, out = np.zeros(len(t_ns) + 5, OUT), np.zeros(len(t_ns) + 5, OUT)
    state = energy.init() if state is None else state
    n = revise(state, t_ns, power_w, register_wh, np.zeros(len(t_ns)), *SETTINGS, published, scratch, out)
    return out[:n]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(70, 600), st.integers(1, 500))
def test_a_recovered_gap_gives_the_minutes_that_were_never_lost(seed: int, start: int, length: int) -> None:
    rows = history(seed, 1300)
    late = np.zeros(1300, dtype=bool)
    late[start : start + length] = True
    published, _ = computed(*(column[~late] for column in rows))
    expected, _ = computed(*rows)
    again = revised(rows, published)
    highest = {int(row["minute_ns"]): row for row in [*published, *again]}
    assert [highest[t].tobytes() for t in sorted(highest)] == [row.tobytes() for row in expected]
    assert sum(int(row["import_wh"]) for row in highest.values()) == int(expected["import_wh"].sum())
    before = {int(row["minute_ns"]): row.tobytes() for row in published}
    assert all(before.get(int(row["minute_ns"])) != row.tobytes() for row in again)
    touched = {int(t) - int(t) % MINUTE_NS for t in rows[0][max(0, start - 1) : start + length + 1]}
    assert {int(row["minute_ns"]) for row in again} <= touched


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 200))
def test_without_a_checkpoint_a_reading_is_anchor_enough(seed: int, skipped: int) -> None:
    """A fresh state from any accepted row gives the same full minutes as the whole history."""
    rows = history(seed, 900)
    expected, _ = computed(*rows)
    part = tuple(column[skipped:] for column in rows)
    first = int(part[0][0]) - int(part[0][0]) % MINUTE_NS + MINUTE_NS
    tail = expected[expected["minute_ns"] >= first]
    assert len(revised(part, tail)) == 0  # type: ignore[arg-type]


def test_nothing_new_reissues_nothing() -> None:
    rows = history(5, 600)
    published, _ = computed(*rows)
    assert len(revised(rows, published)) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 400), st.integers(0, 10**9))
def test_a_meter_replaced_by_journal_loses_and_invents_nothing(seed: int, at: int, opening: int) -> None:
    """Minutes over a change are those of a meter that was never changed; registers and epoch are the new ones."""
    t_ns, power_w, register_wh = history(seed, 500)
    expected, _ = computed(t_ns, power_w, register_wh)
    state, out, found = energy.init(), np.zeros(8, OUT), []
    for i in range(500):
        shift = opening - register_wh[at] if i > at else 0.0
        if i == at:
            indices = (register_wh[i], 0.0, float(opening), 0.0)
            believed, n = replace(state, int(t_ns[i]), power_w[i], *indices, *SETTINGS, out)
            assert believed
        else:
            n = energy.step(state, int(t_ns[i]), power_w[i], register_wh[i] + shift, 0.0, *SETTINGS, out)
        assert int(state["event"][0]) == energy.NO_EVENT
        found += [row.copy() for row in out[:n]]
    assert [int(row["import_wh"]) for row in found] == expected["import_wh"].tolist()
    assert [float(row["covered_s"]) for row in found] == expected["covered_s"].tolist()
    assert int(state["epoch"][0]) == 1
    assert int(state["register_wh"][0][0]) == register_wh[-1] + opening - register_wh[at]


def test_a_closing_index_that_does_not_follow_changes_nothing() -> None:
    t_ns, power_w, register_wh = history(3, 100)
    state, out = energy.init(), np.zeros(8, OUT)
    for i in range(100):
        energy.step(state, int(t_ns[i]), power_w[i], register_wh[i], 0.0, *SETTINGS, out)
    believed, _ = replace(state, int(t_ns[-1]) + S, 0.0, register_wh[-1] - 500.0, 0.0, 7.0, 0.0, *SETTINGS, out)
    assert not believed
    assert (int(state["epoch"][0]), int(state["register_wh"][0][0])) == (0, int(register_wh[-1]))
