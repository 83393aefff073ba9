"""`bollard fleet`: the worst first, from what a real broker keeps."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from processes import free_port
from servers.mosquitto import Mosquitto
from shore import catalogue
from typer.testing import CliRunner

from edge.wire import Catalogue, topic
from gateway.book import Book
from gateway.cli import GROUPS
from gateway.fleet import NS, Gateway, _object, as_data, judge
from gateway.fleet_cli import fleet, table
from gateway.texts import LANGS, load_texts

NOW_NS = 1_790_000_000 * NS
GOOD: dict[str, Any] = {
    "state": "online", "version": "0.2.0", "clock_known": True, "clock_trusted": True, "dropped": 0, "refused": 0,
    "waiting": 3, "now_ns": NOW_NS - 2 * NS, "confirmed_until_ns": NOW_NS - 2 * NS, "disk_free_bytes": 8 * 2**30,
}  # fmt: skip


def ends(days: float) -> dict[str, Any]:
    return {
        "certificates": {"gw.pem": (datetime.fromtimestamp(NOW_NS / NS, UTC) + timedelta(days=days)).isoformat()}
    }


@pytest.mark.parametrize(
    ("changed", "troubles"),
    [
        ({}, []),
        ({"state": "offline"}, ["offline"]),
        ({"dropped": 7}, ["dropped"]),
        ({"clock_known": False, "clock_trusted": False}, ["clock_unknown"]),
        ({"clock_trusted": False}, ["clock_untrusted"]),
        ({"disk_free_bytes": 2**20}, ["disk_short"]),
        (ends(-1), ["certificate_ended"]),
        (ends(10), ["certificate_ends"]),
        (ends(100), []),
        ({"confirmed_until_ns": NOW_NS - 7200 * NS}, ["long_behind"]),
        ({"confirmed_until_ns": NOW_NS - 7200 * NS, "waiting": 0}, []),  # its word is fresh: it had no rows since
        ({"confirmed_until_ns": NOW_NS - 7200 * NS, "waiting": 0, "now_ns": NOW_NS - 7198 * NS}, ["silent"]),
        ({"now_ns": None}, ["silent"]),
        ({"now_ns": 0, "state": "offline"}, ["offline"]),
        ({"now_ns": 0, "clock_known": False}, ["clock_unknown"]),
        ({"waiting": 20_000}, ["waiting"]),
        ({"waiting": "many", "certificates": "none", "confirmed_until_ns": None, "dropped": None}, []),
    ],
)
def test_what_is_wrong_with_a_gateway(changed: dict[str, Any], troubles: list[str]) -> None:
    (found,) = judge([Gateway("calais", "gw", GOOD | changed)], NOW_NS)
    assert found.troubles == troubles


@pytest.mark.parametrize(
    "odd", ["NaN", "-Infinity", "1e999", "9" * 400, "-" + "9" * 400, '"²"', "[{}]", "true", "null"]
)
def test_no_word_of_one_gateway_ends_the_table_for_all(odd: str) -> None:
    status = _object(f"{{{', '.join(f'{json.dumps(key)}: {odd}' for key in (*GOOD, 'certificates'))}}}".encode())
    assert status is not None
    device = {"kind": "meter", "points": [], "commissioned": json.loads(odd)}
    gateway = Gateway("calais", "odd", status, Catalogue("calais", "odd", "f00d", {}, (device,)))
    found = judge([gateway, Gateway("calais", "gw", GOOD)], NOW_NS)
    assert len(table(found, NOW_NS, load_texts("en"))) == 4
    json.dumps(as_data(found, NOW_NS), allow_nan=False)
    assert "not_signed" in gateway.troubles


def test_the_worst_stands_first_and_the_newest_version_is_the_measure() -> None:
    old, away, fine = (Gateway("calais", name, dict(GOOD)) for name in ("old", "away", "fine"))
    assert isinstance(old.status, dict) and isinstance(away.status, dict)
    old.status["version"], away.status["state"] = "0.1.10", "offline"
    found = judge([fine, old, away, Gateway("calais", "gone")], NOW_NS)
    assert [g.name for g in found] == ["gone", "away", "old", "fine"]
    assert found[2].troubles == ["other_version"]
    for lang in LANGS:
        lines = table(found, NOW_NS, load_texts(lang))
        assert len(lines) == 6 and "calais/gone" in lines[1] and "3" in lines[-1]


def test_an_unsigned_meter_is_named() -> None:
    def told(state: str) -> Catalogue:
        device = {"name": "meter-1", "kind": "meter", "points": [], "commissioned": {"state": state}}
        return Catalogue("calais", "gw", "f00d", {}, (device,))

    assert judge([Gateway("calais", "gw", GOOD, told("no_load"))], NOW_NS)[0].troubles == ["not_signed"]
    assert judge([Gateway("calais", "gw", GOOD, told("signed"))], NOW_NS)[0].troubles == []
    assert Gateway("demo-port", "gw", GOOD, catalogue()).unsigned() == []  # of a gateway that does not know of it


def run(shore: Path, *words: str) -> tuple[int, str]:
    import typer

    app = typer.Typer()
    app.command()(fleet)
    done = CliRunner().invoke(app, ["--shore", str(shore), *words])
    return done.exit_code, done.output


def shore_file(folder: Path, port: int) -> Path:
    file = folder / "shore.toml"
    file.write_text(f'schema = 1\n[store]\nurl = "sqlite:s.db"\n[broker]\nport = {port}\n')
    return file


@pytest.mark.mosquitto
def test_a_fleet_at_a_real_broker(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        shore = shore_file(tmp_path, broker.port)
        code, out = run(shore, "--lang", "en")
        assert code == 1 and "No gateway is known" in out
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        now = {"now_ns": time.time_ns(), "confirmed_until_ns": time.time_ns()}
        told = (
            ("gw-1", "status", json.dumps(GOOD | now).encode()),
            ("gw-2", "status", json.dumps(GOOD | now | {"state": "offline"}).encode()),
            ("gw-3", "status", b"\xff{nonsense"),
            ("gw-1", "catalogue", catalogue("gw-1").encode()),
        )
        for name, leaf, payload in told:
            client.publish(topic("demo-port", name, leaf), payload, qos=1, retain=True).wait_for_publish(20.0)
        client.disconnect()
        client.loop_stop()
        book = Book(tmp_path / "book.db")
        book.put_catalogue(catalogue("gw-4"))  # the broker has forgotten it
        book.close()
        code, out = run(shore, "--json")
        found = {g["gateway"]: g for g in json.loads(out)}
        assert code == 1 and list(found)[:2] == ["gw-3", "gw-4"] and list(found)[-1] == "gw-1"
        assert found["gw-1"]["troubles"] == [] and found["gw-1"]["devices"] == 1
        assert found["gw-2"]["troubles"] == ["offline"] and found["gw-4"]["troubles"] == ["silent"]
        code, out = run(shore)
        assert "passerelle" in out and "demo-port/gw-2" in out and "4 passerelles, 3 à voir." in out


def test_no_broker_is_told_with_4_and_a_wrong_file_with_2(tmp_path: Path) -> None:
    code, out = run(shore_file(tmp_path, free_port()), "--wait-s", "1")
    assert code == 4 and "check [broker] of the shore file" in out
    assert run(tmp_path / "none.toml")[0] == 2
    assert run(shore_file(tmp_path, 1), "--lang", "de")[0] == 2
    assert GROUPS["fleet"][:2] == ("gateway.fleet_cli", "fleet")
