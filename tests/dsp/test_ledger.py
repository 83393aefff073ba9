"""A meter's past in one call: the same minutes and events as row by row, in parts too, with its replacements."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsp import energy, ledger, revise

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
START_NS = 1_790_000_000 * S
LIMITS = (5 * S, 10e6, 2.0**32)


def history(seed: int, n: int = 300) -> tuple[Any, ...]:
    """Rows with gaps of all lengths, a winter in a drawer, readings that fail, a register that resets."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([S, 2 * S, 40 * S, 4000 * S, 70 * ledger.DAY_NS], n, p=[0.7, 0.15, 0.1, 0.045, 0.005])
    t_ns = START_NS + np.cumsum(steps)
    power_w = rng.uniform(0.0, 9e6, n)
    wh = 10**6 + np.cumsum(np.floor(power_w * np.minimum(steps, 4000 * S) / 3600 / S))
    if rng.random() < 0.5:
        wh[n // 2 :] -= wh[n // 2]
    wh[rng.random(n) < 0.1] = np.nan
    power_w[rng.random(n) < 0.1] = np.nan
    return t_ns, power_w, wh, np.zeros(n)


def row_by_row(rows: tuple[Any, ...], replacements: Any) -> tuple[list[bytes], int]:
    """The loop of a gateway, in plain Python: a replacement before the first row at or after its instant."""
    state, out, found, due = energy.init(), np.zeros(100_000, energy.OUT), [], 0
    for t, power_w, import_wh, export_wh in zip(*(column.tolist() for column in rows), strict=True):
        if 0 < state["t_ns"][0] < t - ledger.LONGEST_SILENCE_NS:
            state = energy.init(int(state["epoch"][0]) + 1)
        while due < len(replacements) and replacements["t_ns"][due] <= t:
            change, due = replacements[due], due + 1
            if state["t_ns"][0] < 0:
                state["epoch"] += 1
            elif change["t_ns"] > state["t_ns"][0]:
                indices = (float(change[name]) for name in ledger.REPLACEMENT.names[1:])
                _, n = revise.replace(state, int(change["t_ns"]), float("nan"), *indices, *LIMITS, out)
                found += [one.tobytes() for one in out[:n]]
        n = energy.step(state, t, power_w, import_wh, export_wh, *LIMITS, out)
        found += [one.tobytes() for one in out[:n]]
    return found, int(state["epoch"][0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(0, 3))
@example(104426, 234, 0)  # cut where a long silence is known and its minutes wait to be told
def test_a_past_in_one_call_is_what_was_told_row_by_row(seed: int, cut: int, changes: int) -> None:
    rows, rng = history(seed), np.random.default_rng(seed + 1)
    replacements = np.zeros(changes, ledger.REPLACEMENT)
    at = np.sort(rng.integers(-5, len(rows[0]) - 1, changes))
    for change, i in zip(replacements, at, strict=True):
        change["t_ns"] = (rows[0][i] if i >= 0 else START_NS - 10**12) + 7
        closing = rows[2][i] if i >= 0 else np.nan
        change["closing_import_wh"], change["opening_import_wh"] = closing, closing
    state, found = ledger.init(), []
    events = np.zeros(400, ledger.EVENT)
    for part in (slice(0, cut), slice(cut, None)):
        columns = [column[part] for column in rows]
        out = np.zeros(ledger.places(state, columns[0]), energy.OUT)
        n, m = ledger.run(state, energy.init(), *columns, replacements, *LIMITS, out, events)
        assert m < len(events)
        found += [one.tobytes() for one in out[:n]]
    expected, epoch = row_by_row(rows, replacements)
    assert found == expected
    assert int(state["meter"]["epoch"][0]) == epoch
    assert int(state["replaced"][0]) == changes


def test_what_happened_is_told_with_both_readings() -> None:
    rows = (np.arange(6) * S + START_NS, np.full(6, 3.6e6), 1000.0 * np.arange(6) + 500.0, np.zeros(6))
    rows[2][4:] -= 4000.0  # the new meter starts near 0
    replacements = np.array([(START_NS + 3 * S + 1, 3500.0, 0.0, 0.0, 0.0), (START_NS + 7, np.nan, 0, 0, 0)],
                            ledger.REPLACEMENT)[[1, 0]]  # fmt: skip
    events, out = np.zeros(8, ledger.EVENT), np.zeros(40, energy.OUT)
    _, m = ledger.run(ledger.init(), energy.init(), *rows, replacements, *LIMITS, out, events)
    assert [int(e["event"]) for e in events[:m]] == [ledger.REPLACEMENT_REFUSED, ledger.REPLACED]
    assert (int(events[1]["before_wh"]), int(events[1]["after_wh"])) == (3500, 0)
