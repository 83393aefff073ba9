"""What the API says beside live values: PLC words by bits, the running month of a lock, groups, planned calls."""

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from lock_rows import catalogue as locks
from lock_rows import device, write
from shore import SITE
from web_shore import NS, Shore, filled, shore

from gateway.journal import NewEntry
from gateway.perimeter import Group
from gateway.web.clock import WebClock
from gateway.web.month_cache import MonthCache
from gateway.web.plc import bit_changes

__all__ = ["filled", "shore"]  # fixtures
NOON_NS = int(datetime(2026, 10, 14, 12, tzinfo=UTC).timestamp()) * NS


class Noon(WebClock):
    """A clock that stands: an hour after the rows begin."""

    def now_ns(self) -> int:
        return NOON_NS + 3600 * NS


def lock_shore(shore: Shore, **columns: Any) -> None:
    """An hour of a lock, a row a minute."""
    shore.hub.clock = Noon()
    made = device(interval_s=60.0)
    points = [
        p | ({"codes": {"1": "ESTOP", "4": "MAINS_LOST"}} if p["name"] == "alarm_word" else {})
        for p in made["points"]
    ]
    shore.hub.book.put_catalogue(locks(made | {"points": points}))
    for said in shore.hub.book.catalogues():
        shore.hub.live.take_catalogue(said)
    write(shore.hub.store, range(NOON_NS, NOON_NS + 3600 * NS, 60 * NS), **columns)


def test_a_plcs_word_is_a_journal_of_bits_with_their_texts_and_what_is_not_known_of_their_order(
    shore: Shore,
) -> None:
    word = [0] * 10 + [1] * 10 + [1 + 4 + 8] * 20 + [0] * 20
    lock_shore(shore, alarm_word=word)
    said = shore.get("plc-alarms", site=SITE, device="lock-1").json()
    assert said["words"] == 1
    told = [
        (r["t_ms"] // 1000 - NOON_NS // NS, r["bit"], r["on"], r["text"], r["order_known"]) for r in said["rows"]
    ]
    assert sorted(told) == [
        (600, 0, True, "ESTOP", True),
        (1200, 2, True, "MAINS_LOST", False), (1200, 3, True, "", False),
        (2400, 0, False, "ESTOP", False), (2400, 2, False, "MAINS_LOST", False), (2400, 3, False, "", False),
    ]  # fmt: skip
    assert {r["uncertain_ms"] for r in said["rows"]} == {60_000.0}
    assert shore.get("plc-alarms", "douai", site=SITE).status_code == 403


def test_of_a_bit_that_chatters_no_more_is_kept_than_is_shown(shore: Shore) -> None:
    lock_shore(shore, alarm_word=[i % 2 + 2 * (i > 30) for i in range(60)])
    whole = shore.get("plc-alarms", site=SITE, device="lock-1").json()["rows"]
    assert len(whole) == 60
    for most in (1, 2, 28, 29, 30):
        assert shore.get("plc-alarms", site=SITE, device="lock-1", most=most).json()["rows"] == whole[:most]
    assert len(bit_changes(np.arange(60), np.arange(60) % 2, 5)) == 5


@given(st.lists(st.integers(0, 2**32 - 1), max_size=30))
def test_changes_of_bits_lead_from_the_first_word_to_the_last(words: list[int]) -> None:
    held = words[0] if words else 0
    for _, bit, on in bit_changes(np.arange(len(words)), np.array(words, np.int64), 1000):
        assert bool(held >> bit & 1) != on
        held ^= 1 << bit
    assert held == (words[-1] if words else 0)


def test_the_running_month_of_a_lock_is_reckoned_as_the_report_does(shore: Shore) -> None:
    lock_shore(shore, mode=[1] * 30 + [0] * 30, centre_link=1, estop=0, takeover_request=[0] * 28 + [1] * 32)
    said = shore.get("lockages/month", site=SITE, device="lock-1").json()
    assert said["month"] == "2026-10" and said["takeovers"] == said["requests"] == 1
    assert said["response_mean_s"] == 120.0
    assert 0.45 < said["teleoperable"]["value"] < 0.55 and said["teleoperable"]["coverage"] < 0.01
    assert said["modes"]["remote"]["value"] + said["modes"]["local"]["value"] == 1.0
    assert shore.get("lockages/month", site=SITE, device="nobody").status_code == 404


async def test_what_is_reckoned_already_waits_for_no_other_lock() -> None:
    cache, go_on = MonthCache(), threading.Event()
    assert await cache.get(("a",), lambda: 1) == 1
    slow = asyncio.create_task(cache.get(("b",), lambda: go_on.wait(60.0)))
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(30.0):
            assert await cache.get(("a",), lambda: 2) == 1
        assert not slow.done()
    finally:
        go_on.set()
    assert await slow is True


def test_sites_come_in_the_order_of_the_waterway(shore: Shore) -> None:
    """Whichever gateway spoke first."""
    for name in ("douai", "arleux", "zuydcoote"):
        shore.hub.live.take_catalogue(replace(locks(device()), site=name))
    shore.hub.groups = (Group(name="scarpe", sites=("zuydcoote", "arleux")),)
    said = shore.get("sites").json()
    assert [s["name"] for s in said["sites"]] == ["zuydcoote", "arleux", SITE, "douai"]
    assert said["groups"] == [{"name": "scarpe", "sites": ["zuydcoote", "arleux"]}]
    assert shore.get("sites", "douai").json()["groups"] == []


def test_a_call_that_somebody_wrote_down_says_when_the_ship_leaves(shore: Shore) -> None:
    shore.hub.clock = Noon()
    at = [datetime.fromtimestamp((NOON_NS + k * 3600 * NS) // NS, UTC).isoformat() for k in (0, 2, 5, 6)]
    for arrival, departure in ((at[0], at[1]), (at[2], at[3])):
        body = f'{{"imo": "9074729", "berth": "berth-1", "arrival": "{arrival}", "departure": "{departure}"}}'
        shore.hub.book.write_journal([NewEntry(SITE, "call", body, "anne", "plan")], NOON_NS)
    now_ms = (NOON_NS + 3600 * NS) // 1_000_000
    rows = shore.get("calls", site=SITE, start_ms=now_ms, stop_ms=now_ms + 1).json()["rows"]
    assert [r["departure_ms"] - now_ms for r in rows] == [3_600_000]
    assert len(shore.get("calls", site=SITE).json()["rows"]) == 1  # the other is to come


CONTRACT = """
[[contract]]
site = "demo-port"
meter = "delivery-1"
[[contract.tariff]]
name = "DAY"
start = 06:00:00
stop = 22:00:00
[[contract.tariff]]
name = "NIGHT"
[[contract.subscribed]]
since = 2026-01-01
tariff = "DAY"
power_kw = 70_000
"""


def test_subscribed_power_is_that_of_the_class_that_holds_now(shore: Shore) -> None:
    shore.hub.clock = Noon()
    assert shore.get("subscribed").json() == {"subscribed": []}
    shore.hub.contracts = CONTRACT
    (held,) = shore.get("subscribed", site=SITE).json()["subscribed"]
    assert held == {"site": SITE, "meter": "delivery-1", "tariff": "DAY", "power_w": 70e6}
    assert shore.get("subscribed", "douai").json() == {"subscribed": []}
