"""The API and the page's HTTP side, through real requests to the application."""

from typing import Any

import pytest
from shore import GATEWAY, SITE, T, batch, catalogue, row
from starlette.testclient import TestClient
from web_shore import CODE, NS, PASSWORD, Shore, filled, shore

from gateway.web.alarms import Entry
from gateway.web.api import ENDPOINTS
from gateway.web.app import LARGEST_BODY, Page
from gateway.web.clock import WebClock
from gateway.web.hub import Hub
from gateway.web.settings import WebSettings

__all__ = ["filled", "shore"]  # fixtures


def test_every_endpoint_wants_to_know_who_asks(shore: Shore) -> None:
    for endpoint in ENDPOINTS:
        path = endpoint.path.removeprefix("/api/1/").replace("{name}", "x.pdf")
        reply = shore.get(path, None) if endpoint.method == "GET" else shore.post(path, {}, None)
        assert reply.status_code == 401, endpoint.path


def test_what_is_declared_and_what_is_known_now(shore: Shore) -> None:
    shore.hub.live.take([row(T, power_w=7.5)])
    (site,) = shore.get("sites").json()["sites"]
    assert (site["name"], [d["name"] for d in site["devices"]]) == (SITE, ["charger-1"])
    device = shore.get("latest").json()["devices"][f"{SITE}/charger-1"]
    assert device["readings"]["power_w"] == [7.5, "good", T // 1_000_000]
    assert device["stale"] is True  # T is not now


def test_history_is_thinned_and_its_csv_is_not(shore: Shore) -> None:
    query = {
        "site": SITE, "device": "charger-1", "fields": "power_w", "start_ms": T // 10**6,
        "stop_ms": T // 10**6 + 600_000, "pixels": 10,
    }  # fmt: skip
    (curve,) = shore.get("history", **query).json()["curves"]
    assert len(curve["values"]) <= 20 and {min(curve["values"]), max(curve["values"])} == {0.0, 59.0}
    lines = shore.get("history", **query, format="csv").text.splitlines()
    assert len(lines) == 601 and lines[0] == "time_utc,power_w" and lines[8].endswith("Z,7")
    assert "exported" in [entry[2] for entry in shore.people.audited()]


@pytest.mark.parametrize(
    "wrong",
    [
        {"stop_ms": 0}, {"fields": "POWER"}, {"fields": ""}, {"pixels": 9}, {"pixels": "many"}, {"format": "xml"},
        {"start_ms": -1}, {"stop_ms": 10**30}, {"device": "../etc"}, {"more": "1"},
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_where_and_why(shore: Shore, wrong: dict[str, Any]) -> None:
    query = {"site": SITE, "device": "charger-1", "fields": "power_w", "start_ms": 1, "stop_ms": 2} | wrong
    reply = shore.get("history", **query)
    assert reply.status_code == 400 and reply.json()["error"]


def test_an_alarm_is_noted_by_one_and_refused_to_the_second(shore: Shore) -> None:
    shore.begin()
    (alarm,) = shore.get("alarms").json()["alarms"]
    assert (alarm["state"], alarm["priority"]) == ("unacknowledged", "high")
    assert "amont et aval" in alarm["text"]["fr"] and alarm["text"]["fr"] != alarm["text"]["en"]
    said = {"site": SITE, "device": "charger-1", "code": CODE, "point": "gates", "comment": "j'y vais"}
    assert shore.post("alarms/note", said).json()["state"] == "acknowledged"
    second = shore.post("alarms/note", said, "chef")
    assert second.status_code == 409 and second.json()["values"] == {"who": "anne"}
    entries = shore.get("alarms/journal").json()["entries"]
    assert [(e["action"], e["who"], e["comment"]) for e in entries] == [
        ("note", "anne", "j'y vais"),
        ("begin", "", ""),
    ]


def test_a_viewer_may_look_and_not_touch(shore: Shore) -> None:
    shore.begin()
    said = {"site": SITE, "device": "charger-1", "code": CODE, "point": "gates"}
    assert shore.get("alarms", "vera").status_code == 200
    assert shore.post("alarms/note", said, "vera").status_code == 403
    assert shore.get("audit", "anne").status_code == 403 and shore.get("audit", "chef").status_code == 200


def test_a_user_of_another_site_sees_nothing_of_this_one(shore: Shore) -> None:
    shore.begin()
    assert shore.get("sites", "douai").json() == {"sites": [], "groups": []}
    assert shore.get("latest", "douai").json()["devices"] == {}
    assert shore.get("alarms", "douai").json()["alarms"] == []
    query = {"site": SITE, "device": "charger-1", "fields": "power_w", "start_ms": 1, "stop_ms": 2}
    assert shore.get("history", "douai", **query).status_code == 403
    said = {"site": SITE, "device": "charger-1", "code": CODE, "point": "gates"}
    assert shore.post("alarms/note", said, "douai").status_code == 403
    assert shore.get("alarms/journal", "douai").json() == {"entries": []}


def test_a_busier_site_does_not_empty_the_journal_of_who_does_not_see_it(shore: Shore) -> None:
    own = Entry(T, ("douai", "lock-1", "stale", ""), "begin")
    shore.hub.journal.append([own, *(Entry(T, (SITE, "charger-1", "stale", ""), "begin") for _ in range(3))])
    found = shore.get("alarms/journal", "douai", most=2).json()["entries"]
    assert [e["site"] for e in found] == ["douai"]
    assert [e["site"] for e in shore.get("alarms/journal", most=2).json()["entries"]] == [SITE, SITE]


def test_the_journal_survives_a_restart_and_events_of_meanwhile_are_caught_up_with(shore: Shore) -> None:
    shore.begin()
    said = {"site": SITE, "device": "charger-1", "code": CODE, "point": "gates", "comment": "seen"}
    shore.post("alarms/note", said)
    tags = {"code": CODE, "point": "gates"}
    ended = row(T + 60 * NS, "event", "charger-1", tags, active=0, lasted_s=60.0)
    shore.hub.store.write([ended], catalogue().field_types())
    again = Hub(shore.hub.store, shore.hub.book, (), WebClock())
    (alarm,) = again.alarms.alarms.values()
    assert (alarm.state, alarm.who, alarm.ended_ns) == ("normal", "anne", T + 60 * NS)


def test_minutes_and_lists_of_rows(shore: Shore) -> None:
    query = {"site": SITE, "device": "meter-1", "start_ms": T // 10**6, "stop_ms": T // 10**6 + 3_600_000}
    rows = shore.get("minutes", **query, most=2).json()["rows"]
    assert [r["import_wh"] for r in rows] == [104, 103]
    assert shore.get("lockages", **query).json() == {"rows": []}


def test_reports_are_listed_and_nothing_else_is_given(shore: Shore) -> None:
    assert shore.get("reports").json() == {"reports": []}
    (shore.folder / "reports").mkdir()
    (shore.folder / "reports" / "report-calais-2026-10.fr.pdf").write_bytes(b"%PDF")
    (shore.folder / "reports" / "notes.txt").write_text("private")
    assert [r["name"] for r in shore.get("reports").json()["reports"]] == ["report-calais-2026-10.fr.pdf"]
    assert shore.get("reports/report-calais-2026-10.fr.pdf").content == b"%PDF"
    for name in ("notes.txt", "..%2Fbook.db", "%2e%2e", "book.db"):
        assert shore.get(f"reports/{name}").status_code == 404


def test_reports_are_those_of_the_sites_that_one_sees(shore: Shore) -> None:
    (shore.folder / "reports").mkdir()
    own = ["report-douai-2026-10.fr.pdf", "report-douai-2026-10.ships.csv"]
    others = ["report-douai-x-2026-10.fr.pdf", "rollup-douai-2026-H2.fr.pdf", "rollup-douai+x-2026.json", "a.csv"]
    for name in own + others:
        (shore.folder / "reports" / name).write_bytes(b"%PDF")
    assert sorted(r["name"] for r in shore.get("reports", "douai").json()["reports"]) == own
    assert [shore.get(f"reports/{n}", "douai").status_code for n in own + others] == [200] * 2 + [404] * 4
    assert len(shore.get("reports").json()["reports"]) == 6
    assert [shore.get(f"reports/{name}").status_code for name in others] == [200] * 4


def test_headers_are_strict_on_every_answer(shore: Shore) -> None:
    for path in ("/", "/login", "/static/app.js", "/static/none.js", "/api/1/me", "/nowhere", "/openapi.json"):
        headers = shore.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers


def test_signing_in_and_out_with_a_cookie_that_no_script_reads(shore: Shore) -> None:
    assert shore.client.get("/alarms").headers["location"] == "/login?next=/alarms"
    wrong = shore.client.post("/login", data={"name": "anne", "password": "wrong"})
    assert wrong.status_code == 401 and "incorrect" in wrong.text
    right = shore.client.post("/login?next=/alarms", data={"name": "anne", "password": PASSWORD})
    cookie = right.headers["set-cookie"].lower()
    assert right.headers["location"] == "/alarms" and "httponly" in cookie and "samesite=strict" in cookie
    assert shore.client.get("/alarms").status_code == 200
    shore.client.post("/logout")
    assert shore.client.get("/alarms").status_code == 303


def test_another_sites_page_changes_nothing(shore: Shore) -> None:
    shore.begin()
    said = {"site": SITE, "device": "charger-1", "code": CODE, "point": "gates"}
    assert shore.post("alarms/note", said, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert shore.post("alarms/note", said, Origin="https://evil.example").status_code == 403
    for away in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        reply = shore.client.post("/login", params={"next": away}, data={"name": "anne", "password": PASSWORD})
        assert reply.headers["location"] == "/"


def test_a_body_that_is_too_large_is_not_read(shore: Shore) -> None:
    reply = shore.client.post("/login", content=b"x" * (LARGEST_BODY + 1))
    assert reply.status_code == 413


def test_a_name_in_a_proxy_header_counts_only_where_it_is_set(shore: Shore) -> None:
    assert shore.client.get("/api/1/me", headers={"Remote-User": "chef"}).status_code == 401
    behind = TestClient(Page(shore.hub, shore.people, WebSettings(proxy_header="Remote-User")).app())  # type: ignore[arg-type]
    assert behind.get("/api/1/me", headers={"Remote-User": "chef"}).json()["name"] == "chef"
    assert behind.get("/api/1/me", headers={"Remote-User": "stranger"}).status_code == 401


def test_the_database_away_is_said_and_what_is_live_goes_on(shore: Shore) -> None:
    from gateway.errors import StoreUnavailable

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("influxdb does not answer")

    shore.hub.store.columns = away  # type: ignore[method-assign]
    query = {"site": SITE, "device": "charger-1", "fields": "power_w", "start_ms": 1, "stop_ms": 2}
    assert shore.get("history", **query).status_code == 503
    assert shore.get("latest").status_code == 200


def test_a_message_of_one_gateway_in_anothers_name_changes_nothing(shore: Shore) -> None:
    payload = batch(1, [row(T, power_w=1.0)])
    shore.hub.heard(f"bollard/1/{SITE}/other/data", payload)
    assert shore.hub.live.devices[SITE, "charger-1"].readings == {}
    shore.hub.heard(f"bollard/1/{SITE}/{GATEWAY}/data", payload)
    assert shore.hub.live.devices[SITE, "charger-1"].readings["power_w"].value == 1.0


@pytest.mark.parametrize("payload", [b"", b"\xff", b"{}", b"[1]", b"null", b"# bollard/1 x\n"])
@pytest.mark.parametrize("leaf", ["data", "data-z", "status", "catalogue"])
def test_nonsense_of_the_broker_changes_nothing(shore: Shore, leaf: str, payload: bytes) -> None:
    shore.hub.heard(f"bollard/1/{SITE}/{GATEWAY}/{leaf}", payload)
    assert shore.get("latest").status_code == 200
