"""Bad days: the page says what it knows and what it does not. `test_page.py` has some in a browser."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from shore import SITE, T, catalogue, row
from starlette.testclient import TestClient
from web_shore import CODE, NS, PASSWORD, Shore, filled, shore

from gateway.book import Book
from gateway.errors import StoreUnavailable
from gateway.store import open_store
from gateway.web import hub as module
from gateway.web import people
from gateway.web.app import Page
from gateway.web.clock import WebClock
from gateway.web.hub import MOST_ALARMS, MOST_WAITING, Hub
from gateway.web.people import User
from gateway.web.settings import WebSettings

__all__ = ["filled", "shore"]  # fixtures
DEADLINE_S = 60.0


def state_of(text: str) -> Any:
    """What a message of the stream says."""
    return json.loads(text.rpartition("data: ")[2])


async def first_of(stream: AsyncIterator[str]) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return state_of(await anext(stream))


def test_without_a_broker_the_page_says_so_and_keeps_what_it_knows(shore: Shore) -> None:
    shore.hub.live.take([row(T, power_w=7.5)])
    said = shore.get("latest").json()
    assert said["broker"] is False and said["devices"][f"{SITE}/charger-1"]["readings"]["power_w"][0] == 7.5


def test_before_any_gateway_has_spoken_there_is_nothing_and_a_device_without_rows_never_had_data(
    shore: Shore, tmp_path: Any
) -> None:
    device = shore.get("latest").json()["devices"][f"{SITE}/charger-1"]
    assert (device["t_ms"], device["why"], device["stale"], device["readings"]) == (None, "never", True, {})
    store, book = open_store(f"sqlite:{tmp_path / 'none.db'}"), Book(tmp_path / "none-book.db")
    empty = Hub(store, book, (), WebClock())
    said = empty.everything(User("anne", "viewer"))
    assert (said["devices"], said["gateways"], said["alarms"]) == ({}, {}, [])
    store.close()
    book.close()


def test_a_book_that_cannot_be_written_is_said_and_its_alarms_are_written_later(shore: Shore) -> None:
    append, tried = shore.hub.journal.append, []

    def away(entries: Any) -> None:
        tried.append(entries)
        raise StoreUnavailable("disk full")

    shore.hub.journal.append = away  # type: ignore[method-assign]
    shore.begin()
    with pytest.raises(StoreUnavailable):
        asyncio.run(shore.hub.write())
    assert shore.get("alarms").json()["alarms"]
    said = {"site": SITE, "device": "charger-1", "code": CODE, "point": "gates"}
    assert shore.post("alarms/note", said).status_code == 503  # nobody is told that it was noted
    shore.hub.journal.append = append  # type: ignore[method-assign]
    assert [e["action"] for e in shore.get("alarms/journal").json()["entries"]] == ["begin"]


def test_a_renamed_device_is_a_new_one_and_its_old_alarms_end(shore: Shore) -> None:
    shore.begin()
    (declared,) = catalogue().devices
    shore.hub.live.take_catalogue(replace(catalogue(), devices=({**declared, "name": "tower-1"},)))
    shore.hub._watch()
    (site,) = shore.get("sites").json()["sites"]
    assert [d["name"] for d in site["devices"]] == ["tower-1"]
    (alarm,) = shore.get("alarms").json()["alarms"]
    assert (alarm["device"], alarm["active"], alarm["state"]) == ("charger-1", False, "returned")
    query = {"site": SITE, "device": "charger-1", "kind": "charger", "fields": "power_w", "start_ms": T // 10**6,
             "stop_ms": T // 10**6 + 600_000}  # fmt: skip
    assert shore.get("history", **query).json()["curves"][0]["values"], "its history stays"


async def test_a_thousand_alarms_in_a_minute_are_counted_and_the_most_urgent_are_sent(shore: Shore) -> None:
    names = [f"charger-{n}" for n in range(1000)]
    events = [row(T + n * 60_000_000, "event", name, {"code": CODE if n == 999 else "counter_glitch"}, active=1)
              for n, name in enumerate(names)]  # fmt: skip
    shore.hub.live.take(events)
    stream = shore.hub.stream(User("anne", "supervisor"))
    said = await first_of(stream)
    assert len(said["alarms"]) == MOST_ALARMS and said["alarms"][0]["code"] == CODE
    assert (said["alarms_in_all"], said["asking"]) == (1000, 1000)
    assert len(json.dumps(said)) < 200_000
    await stream.aclose()  # type: ignore[attr-defined]
    await shore.hub.write()
    assert len(await asyncio.to_thread(shore.hub.journal.entries)) == 1000


async def test_a_client_that_sleeps_loses_its_stream_and_gets_all_anew_when_it_comes_back(shore: Shore) -> None:
    asleep, awake = shore.hub.stream(User("anne", "viewer")), shore.hub.stream(User("vera", "viewer"))
    await first_of(asleep)
    await first_of(awake)
    for n in range(MOST_WAITING + 2):
        shore.hub.live.take([row(T + n * NS, power_w=float(n))])
        shore.hub._tell(due=False)
        assert (await first_of(awake))["devices"], "it is not held up by the other"
    late = [text async for text in asleep]
    assert len(late) == MOST_WAITING
    again = await first_of(shore.hub.stream(User("anne", "viewer")))
    assert again["devices"][f"{SITE}/charger-1"]["readings"]["power_w"][0] == float(MOST_WAITING + 1)


async def test_a_stream_ends_with_its_session(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the user is removed at the command line, which no server hears of."""
    monkeypatch.setattr(module, "STILL_S", -1.0)
    found = shore.people.sign_in("anne", PASSWORD, "10.0.0.7")
    assert found is not None
    stream = shore.hub.stream(found[0], lambda: shore.people.holds(found[1]))
    await first_of(stream)
    shore.hub._tell(due=True)
    assert (await first_of(stream))["now_ms"]
    shore.people.remove("anne")
    shore.hub._tell(due=True)
    with pytest.raises(StopAsyncIteration):
        await first_of(stream)


def test_a_session_that_expires_is_told_401_and_the_next_page_asks_to_sign_in(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    shore.client.post("/login", data={"name": "anne", "password": PASSWORD})
    assert shore.client.get("/api/1/me").status_code == 200
    now_ns = people.time.time_ns()
    monkeypatch.setattr(people.time, "time_ns", lambda: now_ns + int((people.SESSION_S + 60) * NS))
    assert shore.client.get("/api/1/me").status_code == 401
    assert shore.client.get("/alarms").headers["location"] == "/login?next=/alarms"


def test_a_wall_display_does_not_expire_and_may_only_look(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with a supervisor's token: anybody can reach its keyboard, and read its link."""
    shore.begin()
    token = shore.people.token("anne", wall=True)
    wall = TestClient(Page(shore.hub, shore.people, WebSettings()).app(), follow_redirects=False)  # type: ignore[arg-type]
    reply = wall.get("/wall", params={"token": token})
    assert reply.headers["location"] == "/wall" and "httponly" in reply.headers["set-cookie"].lower()
    now_ns = people.time.time_ns()
    monkeypatch.setattr(people.time, "time_ns", lambda: now_ns + 400 * 86_400 * NS)
    assert wall.get("/wall").status_code == 200 and wall.get("/api/1/me").json()["role"] == "viewer"
    said = {"site": SITE, "device": "charger-1", "code": CODE, "point": "gates"}
    assert wall.post("/api/1/alarms/note", json=said).status_code == 403
    bearer = {"Authorization": f"Bearer {token}"}
    assert shore.client.post("/api/1/alarms/note", json=said, headers=bearer).status_code == 403


def test_the_walls_link_takes_a_walls_token_alone_and_ends_no_session(shore: Shore) -> None:
    shore.client.post("/login", data={"name": "anne", "password": PASSWORD})
    api = shore.people.token("anne")
    for token in ("stranger", api):
        reply = shore.client.get("/wall", params={"token": token})
        assert reply.status_code == 403 and "set-cookie" not in reply.headers and "--wall" in reply.json()["error"]
    assert shore.client.get("/api/1/me").json()["role"] == "supervisor"
    assert shore.people.by_cookie(api) is None


def test_somebody_whom_a_proxy_names_has_a_stream_as_long_as_the_user_is_there(shore: Shore) -> None:
    behind = Page(shore.hub, shore.people, WebSettings(proxy_header="Remote-User"))
    assert behind._named("vera") == User("vera", "viewer") and behind._named("stranger") is None
