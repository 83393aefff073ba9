"""One contract, two stores: what is asserted here holds for SQLite and for a real InfluxDB."""

import itertools
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from servers.influx import TOKEN, InfluxServer
from shore import FOREVER, GATEWAY, MINUTE, SITE, T, minute, row

from edge.wire import COMPUTED, RowLine
from gateway.errors import StoreError, StoreUnavailable
from gateway.store import UNKNOWN, Columns, Store, open_store

WEEKS = 3 * 7 * 86_400_000_000_000
TYPES = {
    ("charger", "charger-1"): {
        "power_w": "float",
        "state": "int",
        "vessel": "str",
        "setpoint_w": "float",
        "q": "str",
    },
    ("charger", "charger-2"): {"power_w": "int", "state": "int"},
}


def test_what_is_written_comes_back_in_order_of_time(store: Store) -> None:
    assert store.write([row(T + 2, power_w=2.5, state=7), row(T, power_w=-0.1), row(T + 1, state=3)], TYPES) == []
    columns = store.columns("charger", "charger-1", ("power_w", "state"), *FOREVER)
    assert columns.t_ns.tolist() == [T, T + 1, T + 2]
    np.testing.assert_array_equal(columns["power_w"], [-0.1, np.nan, 2.5])
    np.testing.assert_array_equal(columns["state"], [np.nan, 3.0, 7.0])
    assert columns.whole("state").tolist() == [UNKNOWN, 3, 7]
    assert columns.text["device"].tolist() == ["charger-1"] * 3


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1, -(2**63) + 1, 0])
def test_integers_are_exact(store: Store, value: int) -> None:
    store.write([row(T, "energy_1m", "meter-1", {"rev": "0"}, register_t_ns=value)], TYPES)
    columns = store.columns("energy_1m", "meter-1", ("register_t_ns",), *FOREVER)
    assert columns.whole("register_t_ns").tolist() == [value]
    assert columns["register_t_ns"].tolist() == [float(value)]


@pytest.mark.parametrize("value", [0.1, -1e-300, 1.7976931348623157e308, 5e-324, 1e16, 123456789.123456789])
def test_floats_come_back_to_the_last_bit(store: Store, value: float) -> None:
    store.write([row(T, power_w=value)], TYPES)
    assert store.columns("charger", "charger-1", ("power_w",), *FOREVER)["power_w"].tolist() == [value]


@pytest.mark.parametrize(
    "text", ['a "quoted" \\ word', "back\\nslash", "two\nlines", "comma, = space", "é✓", "-1"]
)
def test_text_comes_back_as_it_was(store: Store, text: str) -> None:
    store.write([row(T, "event", tags={"code": "x"}, text=text)], TYPES)
    assert store.columns("event", "charger-1", ("text",), *FOREVER).text["text"].tolist() == [text]


def test_the_same_series_and_instant_again_overwrites(store: Store) -> None:
    store.write([row(T, power_w=1.0, state=1), row(T + 1, power_w=5.0)], TYPES)
    store.write([row(T, power_w=2.0)], TYPES)
    store.write([row(T, power_w=2.0)], TYPES)
    columns = store.columns("charger", "charger-1", ("power_w", "state"), *FOREVER)
    assert columns["power_w"].tolist() == [2.0, 5.0]
    assert columns["state"][0] == 1.0  # not named again, so kept
    assert store.count(SITE, GATEWAY) == 2


def test_rows_that_differ_in_a_tag_stand_side_by_side(store: Store) -> None:
    store.write(
        [row(T, "event", tags={"code": code, "point": p}, value=1.0) for code in "ab" for p in "xy"], TYPES
    )
    columns = store.columns("event", "charger-1", ("value",), *FOREVER)
    assert list(zip(columns.text["code"], columns.text["point"], strict=True)) == list(
        itertools.product("ab", "xy")
    )


def test_readers_take_the_highest_revision(store: Store) -> None:
    store.write([minute(0, 0, 10), minute(1, 0, 11), minute(2, 0, 12)], TYPES)
    store.write([minute(1, 1000, 21), minute(1, 9, 99)], TYPES)
    columns = store.columns("energy_1m", "meter-1", ("import_wh",), *FOREVER)
    assert columns["import_wh"].tolist() == [10, 21, 12]
    assert columns.rev.tolist() == [0, 1000, 0]
    every = store.columns("energy_1m", "meter-1", ("import_wh",), *FOREVER, all_revisions=True)
    assert sorted(zip(every.t_ns.tolist(), every.rev.tolist(), every["import_wh"].tolist(), strict=True)) == [
        (T, 0, 10), (T + MINUTE, 0, 11), (T + MINUTE, 9, 99), (T + MINUTE, 1000, 21), (T + 2 * MINUTE, 0, 12),
    ]  # fmt: skip
    assert store.count(SITE, GATEWAY) == 5


def test_a_revision_may_correct_the_vessel_and_may_know_less(store: Store) -> None:
    store.write(
        [row(T, "session", tags={"rev": "0", "vessel": "unknown"}, energy_wh=7, start_ns=T, soc_end=0.9)], TYPES
    )
    store.write([row(T, "session", tags={"rev": "1", "vessel": "ferry-aurelie"}, energy_wh=8, start_ns=T)], TYPES)
    columns = store.columns("session", "charger-1", ("energy_wh", "soc_end"), *FOREVER)
    assert columns.text["vessel"].tolist() == ["ferry-aurelie"]
    assert columns["energy_wh"].tolist() == [8]
    assert np.isnan(columns["soc_end"][0])
    alone = store.columns("session", "charger-1", ("soc_end",), *FOREVER)
    assert alone.rev.tolist() == [1]
    assert np.isnan(alone["soc_end"]).all()


def test_other_scan_classes_leave_no_holes_unless_quality_is_asked_for(store: Store) -> None:
    store.write(
        [row(T, power_w=1.0), row(T + 1, setpoint_w=9.0), row(T + 2, state=1, q="0b0"), row(T + 3, power_w=2.0)],
        TYPES,
    )
    assert store.columns("charger", "charger-1", ("power_w",), *FOREVER)["power_w"].tolist() == [1.0, 2.0]
    with_q = store.columns("charger", "charger-1", ("power_w", "q"), *FOREVER)
    np.testing.assert_array_equal(with_q["power_w"], [1.0, np.nan, 2.0])
    assert with_q.text["q"].tolist() == [None, "0b0", None]


def test_a_field_may_have_the_name_of_a_tag(store: Store) -> None:
    store.write(
        [
            row(T, tags={"vessel": "unknown"}, vessel="AURELIE II"),
            row(T + 1, tags={"vessel": "ferry-aurelie"}, power_w=1.0),
        ],
        TYPES,
    )
    columns = store.columns("charger", "charger-1", ("vessel", "power_w"), *FOREVER)
    assert columns.text["vessel"].tolist() == ["AURELIE II", None]
    assert columns.tags["vessel"].tolist() == ["unknown", "ferry-aurelie"]


def test_start_belongs_to_the_range_and_stop_does_not(store: Store) -> None:
    store.write([row(T + i, power_w=float(i)) for i in range(4)], TYPES)
    assert store.columns("charger", "charger-1", ("power_w",), T + 1, T + 3)["power_w"].tolist() == [1.0, 2.0]
    assert len(store.columns("charger", "charger-1", ("power_w",), T + 3, T + 1)) == 0


def test_device_site_and_gateway_narrow_the_answer(store: Store) -> None:
    other = row(T, tags={"site": "other", "gateway": "g2"}, power_w=3.0)
    store.write([row(T, power_w=1.0), row(T, device="charger-2", state=2), other], TYPES)
    ask = ("power_w",), *FOREVER
    assert store.columns("charger", "charger-1", *ask)["power_w"].tolist() == [1.0, 3.0]
    assert store.columns("charger", "charger-1", *ask, SITE)["power_w"].tolist() == [1.0]
    assert store.columns("charger", None, *ask, gateway="g2")["power_w"].tolist() == [3.0]


def test_nothing_there_is_an_empty_answer(store: Store) -> None:
    columns = store.columns("charger", "nobody", ("power_w", "vessel"), *FOREVER)
    assert (len(columns), columns["power_w"].tolist(), columns.text["vessel"].tolist()) == (0, [], [])
    assert store.series() == []
    assert store.count(SITE, GATEWAY) == 0


def test_a_refused_row_does_not_cost_its_neighbours(store: Store) -> None:
    store.write([row(T, power_w=1.0)], TYPES)
    rows = [
        row(T + 1, power_w=2.0),
        row(T + 2, power_w=2),  # not what the catalogue says
        row(T + 3, colour=1),
        row(T + 4, power_w=3.0),
        row(T + 5, device="charger-2", power_w=5),  # its catalogue agrees, the store does not
        row(T + 6, "energy_1m", "meter-1", import_wh=5),  # no revision
        row(T + 7, "energy_1m", "meter-1", {"rev": "0"}, import_wh=2**63),
        row(T + 8, power_w=float("inf")),
        row(2**63 - 1, power_w=1.0),
        row(T + 9, power_w=4.0),
    ]
    refused = store.write(rows, TYPES)
    assert [position for position, _ in refused] == [1, 2, 4, 5, 6, 7, 8]
    reasons = dict(refused)
    assert reasons[1] == "field 'power_w' of charger 'charger-1' is int, the catalogue says float"
    assert (
        reasons[4]
        == "field 'power_w' of charger is int, this store holds it as float; give the new quantity a new name"
    )
    assert "needs a tag rev" in reasons[5]
    assert "does not fit into 64 bits" in reasons[6]
    kept = store.columns("charger", "charger-1", ("power_w",), *FOREVER)
    assert kept["power_w"].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_field_keeps_its_type_for_ever(store: Store, backend: object) -> None:
    store.write([row(T, power_w=1.0)], TYPES)
    reopened = backend.open()  # type: ignore[attr-defined]
    late = [row(T + WEEKS, device="charger-2", power_w=5)]  # InfluxDB itself would take it in another week
    assert [position for position, _ in reopened.write(late, TYPES)] == [0]
    assert store.columns("charger", None, ("power_w",), *FOREVER)["power_w"].tolist() == [1.0]
    reopened.close()


def test_series_tells_what_is_there(store: Store) -> None:
    store.write(
        [
            minute(0, 0, 1, max_power_w=5.0),
            minute(1, 0, 1),
            minute(1, 1, 2),
            row(T + 5, state=1),
            row(T + 9, power_w=1.0),
        ],
        TYPES,
    )
    base = {"site": SITE, "gateway": GATEWAY, "origin": "sim"}
    assert [(s.kind, dict(s.tags), s.first_ns, s.last_ns, s.rows) for s in store.series()] == [
        ("charger", base | {"device": "charger-1"}, T + 5, T + 9, 2),
        ("energy_1m", base | {"device": "meter-1", "rev": "0"}, T, T + MINUTE, 2),
        ("energy_1m", base | {"device": "meter-1", "rev": "1"}, T + MINUTE, T + MINUTE, 1),
    ]
    assert store.count(SITE, GATEWAY) == 5
    assert store.count(SITE, "another") == 0


def test_every_lane_is_stored_and_counted(store: Store) -> None:
    rows = [
        row(T, "event", tags={"code": "counter_reset"}, before_wh=5, after_wh=0),
        row(T, "lock_cycle", "lock-1", {"rev": "0"}, direction="up", complete=1),
        row(T, "link", scans=60, scan_ms=12.5),
    ]
    assert store.write(rows, TYPES) == []
    assert store.count(SITE, GATEWAY) == 3
    assert store.columns("lock_cycle", "lock-1", ("direction",), *FOREVER).text["direction"].tolist() == ["up"]


def test_rows_survive_a_restart(store: Store, backend: object) -> None:
    store.write([minute(i, 0, i) for i in range(100)], TYPES)
    backend.restart()  # type: ignore[attr-defined]
    reopened = backend.open()  # type: ignore[attr-defined]
    assert reopened.count(SITE, GATEWAY) == 100
    reopened.close()
    assert store.write([minute(100, 0, 5)], TYPES) == []  # the one that was open goes on
    assert store.columns("energy_1m", "meter-1", ("import_wh",), *FOREVER)["import_wh"].sum() == 99 * 50 + 5


def test_threads_may_share_a_store(store: Store) -> None:
    problems: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(5):
                store.write([row(T + n * 100 + i, power_w=1.0)], TYPES)
                store.columns("charger", "charger-1", ("power_w",), *FOREVER)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert store.count(SITE, GATEWAY) == 20


def same(one: Columns, other: Columns, fields: tuple[str, ...]) -> None:
    np.testing.assert_array_equal(one.t_ns, other.t_ns)
    np.testing.assert_array_equal(one.rev, other.rev)
    assert one.text.keys() == other.text.keys()
    for name in one.text:
        assert one.text[name].tolist() == other.text[name].tolist()
    for name in fields:
        np.testing.assert_array_equal(one[name], other[name])
        np.testing.assert_array_equal(one.whole(name), other.whole(name))


@pytest.mark.influx
def test_both_stores_answer_alike(influx_server: InfluxServer, tmp_path: Path) -> None:
    """Random rows of every computed kind, with fields left out, revisions, vessels and text."""
    random = np.random.default_rng(20260301)
    rows = []
    for kind, fields in COMPUTED.items():
        for _ in range(60):
            values = {
                name: (
                    int(random.integers(-(2**60), 2**60)) if held == "int"
                    else float(random.normal() * 10.0 ** random.integers(-9, 9)) if held == "float"
                    else random.choice(["up", "d'été \"x\"", "a\\b", "two\nlines"])
                )
                for name, held in fields.items() if random.random() < 0.7
            }  # fmt: skip
            tags = {"rev": str(random.integers(0, 3)), "vessel": str(random.choice(["a", "b", "unknown"]))}
            device, t_ns = str(random.choice(["d1", "d2"])), T + int(random.integers(0, 30))
            rows.append(RowLine(kind, row(t_ns, kind, device, tags).tags, values or {"q": "0"}, t_ns))
    stores = [
        open_store(f"sqlite:{tmp_path / 's.db'}"),
        open_store(influx_server.access.store_url("alike"), token=TOKEN),
    ]
    assert [store.write(rows, {}) for store in stores] == [[], []]
    for kind, fields in COMPUTED.items():
        names = (*fields, "q")
        for device, every in itertools.product(("d1", None), (False, True)):
            same(*(s.columns(kind, device, names, T, T + 25, SITE, all_revisions=every) for s in stores), names)
        some = names[1:3]
        same(*(s.columns(kind, None, some, *FOREVER) for s in stores), some)
    assert stores[0].series() == stores[1].series()
    assert stores[0].count(SITE, GATEWAY) == stores[1].count(SITE, GATEWAY) > 0
    for store in stores:
        store.close()


# What only one of them has


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database, although it has that name" * 100)
    with pytest.raises(
        StoreError, match=r"store .*store\.db is damaged \(file is not a database\); move it aside"
    ) as caught:
        open_store(f"sqlite:{path}")
    assert caught.value.exit_code == 2


def test_a_page_damaged_later_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = open_store(f"sqlite:{path}")
    store.write([minute(i, 0, i) for i in range(2000)], TYPES)
    store.close()
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 8)
    store = open_store(f"sqlite:{path}")
    with pytest.raises(StoreError, match="damaged"):
        store.columns("energy_1m", "meter-1", ("import_wh",), *FOREVER)
    store.close()


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_store(f"sqlite:{path}").close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(StoreError, match="has format 7, this bollard knows up to 1"):
        open_store(f"sqlite:{path}")


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mail (id)")
    db.close()
    with pytest.raises(StoreError, match="SQLite file of another kind"):
        open_store(f"sqlite:{path}")


def test_a_missing_folder_a_folder_as_file_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"folder .*nowhere does not exist"):
        open_store(f"sqlite:{tmp_path / 'nowhere' / 'store.db'}")
    with pytest.raises(StoreError, match="is no file"):
        open_store(f"sqlite:{tmp_path}")
    with pytest.raises(StoreError, match="no such file"):
        open_store(f"sqlite:{tmp_path / 'store.db'}", create=False)
    assert not (tmp_path / "store.db").exists()
    with pytest.raises(StoreError, match=r"give sqlite:PATH or influx:"):
        open_store("postgres:x")


def test_an_unwritable_folder_is_one_sentence(unwritable: Path) -> None:
    with pytest.raises(
        StoreError, match=r"unable to open database file; are file and folder writable|is the folder writable"
    ):
        open_store(f"sqlite:{unwritable / 'store.db'}")


def test_a_full_disk_confirms_nothing_and_passes(tmp_path: Path) -> None:
    store = open_store(f"sqlite:{tmp_path / 'store.db'}")
    store.write([minute(0, 0, 0)], TYPES)
    db = store._db  # type: ignore[attr-defined]
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreUnavailable, match="full"):
        store.write([minute(i, 0, i) for i in range(5000)], TYPES)
    assert store.count(SITE, GATEWAY) == 1
    db.execute("PRAGMA max_page_count = 1000000")
    assert store.write([minute(i, 0, i) for i in range(5000)], TYPES) == []
    assert store.count(SITE, GATEWAY) == 5000
    store.close()


@pytest.mark.influx
def test_nobody_at_the_address_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="no answer") as caught:
        open_store("influx:http://127.0.0.1:9?org=port&bucket=x", token="t")
    assert caught.value.exit_code == 4


@pytest.mark.influx
def test_a_wrong_token_org_or_bucket_is_one_sentence(
    influx_server: InfluxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOLLARD_INFLUX_TOKEN", raising=False)
    with pytest.raises(StoreError, match="the token is refused") as caught:
        open_store(influx_server.access.store_url("x"), token="secret-word")
    assert "secret-word" not in str(caught.value)
    with pytest.raises(StoreError, match="no token; set BOLLARD_INFLUX_TOKEN"):
        open_store(influx_server.access.store_url("x"))
    with pytest.raises(StoreError, match="check org and bucket"):
        open_store(f"influx:{influx_server.access.url}?org=nobody&bucket=x", token=TOKEN)
    with pytest.raises(StoreError, match=r"bucket absent-raw does not exist|bucket absent-events does not exist"):
        open_store(influx_server.access.store_url("absent"), token=TOKEN, create=False)


@pytest.mark.influx
def test_a_server_that_goes_away_loses_nothing(own_influx_server: InfluxServer) -> None:
    server = own_influx_server
    store = open_store(server.access.store_url("gone"), token=TOKEN)
    store.write([row(T, power_w=1.0)], TYPES)
    server.kill()
    with pytest.raises(StoreUnavailable):
        store.write([row(T + 1, power_w=2.0)], TYPES)
    server.start()
    assert store.write([row(T + 1, power_w=2.0)], TYPES) == []
    assert store.columns("charger", "charger-1", ("power_w",), *FOREVER)["power_w"].tolist() == [1.0, 2.0]
    store.close()


@pytest.mark.influx
def test_what_influxdb_itself_refuses_is_found_among_its_neighbours(influx_server: InfluxServer) -> None:
    """Someone else has written another type in between: the pinned types are out of date."""
    store = open_store(influx_server.access.store_url("bisect"), token=TOKEN)
    store.write([row(T, state=1)], TYPES)
    store._post("bisect-raw", f"charger,site=x power_w=5i {T}")  # type: ignore[attr-defined]
    rows = [row(T + i, power_w=1.0) if i in (3, 700) else row(T + i, state=i) for i in range(1000)]
    refused = store.write(rows, TYPES)
    assert [position for position, _ in refused] == [3, 700]
    assert all("field type conflict" in reason for _, reason in refused)
    assert store.count(SITE, GATEWAY) == 998
    store.close()
