"""Life of an alarm: what its journal makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shore import SITE, T, row

from edge.wire import RowLine
from gateway.web.alarms import FLOOD_PER_10_MIN, Alarms, Entry, NotPossible

KEY = (SITE, "lock-1", "lock_head_at_opening", "gate_up_state")
S = 1_000_000_000


def event(t_ns: int, active: int | None, **more: object) -> RowLine:
    fields = dict(more) | ({} if active is None else {"active": active})
    return row(t_ns, "event", "lock-1", {"code": KEY[2], "point": KEY[3]}, **(fields or {"value": 1.0}))


def heard(alarms: Alarms, line: RowLine) -> None:
    entry = alarms.heard(line)
    assert entry is not None
    alarms.apply(entry)


def state(alarms: Alarms) -> str:
    return alarms.alarms[KEY].state


def test_it_begins_is_noted_and_ends() -> None:
    alarms = Alarms()
    heard(alarms, event(T, 1, head_m=0.4))
    assert state(alarms) == "unacknowledged"
    alarms.apply(alarms.note(T + S, KEY, "anne", "seen"))
    assert state(alarms) == "acknowledged"
    heard(alarms, event(T + 2 * S, 0, lasted_s=2.0))
    assert state(alarms) == "normal"


def test_one_that_ends_before_anybody_looked_waits_to_be_seen() -> None:
    alarms = Alarms()
    heard(alarms, event(T, 1))
    heard(alarms, event(T + S, 0))
    assert state(alarms) == "returned"
    alarms.apply(alarms.note(T + 2 * S, KEY, "anne", ""))
    assert state(alarms) == "normal"


def test_what_is_only_told_waits_to_be_seen_too() -> None:
    alarms = Alarms()
    heard(alarms, event(T, None))
    assert state(alarms) == "returned"


def test_it_comes_back_after_it_was_noted() -> None:
    alarms = Alarms()
    heard(alarms, event(T, 1))
    alarms.apply(alarms.note(T + S, KEY, "anne", "seen"))
    heard(alarms, event(T + 2 * S, 0))
    heard(alarms, event(T + 3 * S, 1))
    alarm = alarms.alarms[KEY]
    assert (alarm.state, alarm.who, alarm.comment, alarm.times) == ("unacknowledged", "", "", 2)


def test_the_same_event_twice_is_one_entry() -> None:
    alarms = Alarms()
    heard(alarms, event(T, 1))
    assert alarms.heard(event(T, 1)) is None


def test_two_people_at_once_the_second_is_told_who_was_faster() -> None:
    alarms = Alarms()
    heard(alarms, event(T, 1))
    alarms.apply(alarms.note(T + S, KEY, "anne", ""))
    with pytest.raises(NotPossible) as refused:
        alarms.note(T + S, KEY, "bruno", "")
    assert (refused.value.code, refused.value.values) == ("web.alarm.already_noted", {"who": "anne"})


def test_maintenance_suppresses_visibly_and_asks_nobody() -> None:
    alarms = Alarms()
    heard(alarms, event(T, 1, inhibited=1))
    assert state(alarms) == "suppressed"
    with pytest.raises(NotPossible):
        alarms.note(T, KEY, "anne", "")
    heard(alarms, event(T + S, 0, inhibited=1))
    assert state(alarms) == "normal"


def test_a_shelf_has_a_reason_and_an_end() -> None:
    alarms = Alarms()
    heard(alarms, event(T, 1))
    for comment, span_s in (("", 900.0), ("sensor is being changed", 30.0), ("for ever", 1e6)):
        with pytest.raises(NotPossible):
            alarms.shelve(T, KEY, "anne", comment, span_s)
    alarms.apply(alarms.shelve(T, KEY, "anne", "sensor is being changed", 900.0))
    assert state(alarms) == "shelved"
    heard(alarms, event(T + S, 0))
    heard(alarms, event(T + 2 * S, 1))
    assert state(alarms) == "shelved"
    assert list(alarms.expired(T + 899 * S)) == []
    for entry in list(alarms.expired(T + 900 * S)):
        alarms.apply(entry)
    assert state(alarms) == "unacknowledged"


def test_a_flood_is_counted_over_ten_minutes() -> None:
    alarms = Alarms()
    for i in range(1000):
        line = row(T + i, "event", f"lock-{i}", {"code": KEY[2], "point": KEY[3]}, active=1)
        heard(alarms, line)
    assert alarms.rate(T + 600 * S) == 1000 - 1 > FLOOD_PER_10_MIN
    assert alarms.rate(T + 601 * S) == 0


ACTIONS = st.lists(st.sampled_from(["begin", "end", "told", "suppress", "note", "shelve", "unshelve", "expire"]))


@given(ACTIONS)
def test_any_journal_gives_the_same_state_when_it_is_read_again(actions: list[str]) -> None:
    entries = [
        Entry(T + i, KEY, action, who="anne" if action in ("note", "shelve") else "", until_ns=T + 10**15)  # type: ignore[arg-type]
        for i, action in enumerate(actions)
    ]
    live = Alarms()
    for entry in entries:
        live.apply(entry)
    again = Alarms(entries)
    assert live.alarms == again.alarms
    assert all(alarm.state in STATES for alarm in again.alarms.values())


STATES = ("normal", "unacknowledged", "acknowledged", "returned", "shelved", "suppressed")
