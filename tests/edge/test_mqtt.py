"""The connection to the broker: comes back, spreads out, fails over, and never leaves a wrong status behind."""

import asyncio
import json
import random
import time
from itertools import pairwise
from pathlib import Path

import pytest
from mqtt_watch import until, watching
from processes import free_port
from servers.mosquitto import Mosquitto

from edge.config import BrokerConfig
from edge.mqtt import Access, Connection, host_port, pauses
from edge.uplink import Uplink
from edge.wire import Receipt


def connect_times(gateways: int, back_s: float, most_s: float, seed: int) -> list[float]:
    """When each gateway is connected again, if the broker went at 0 and comes back after `back_s`."""
    times = []
    for number in range(gateways):
        at_s = 0.0
        for pause_s in pauses(most_s, random.Random(seed + number)):
            at_s += pause_s
            if at_s >= back_s:
                break
        times.append(at_s)
    return sorted(times)


def busiest_second(times: list[float]) -> int:
    first = 0
    most = 0
    for last, at_s in enumerate(times):
        while times[first] <= at_s - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(("back_s", "most"), [(0.0, 150), (2.0, 150), (10.0, 75), (60.0, 40), (600.0, 40)])
def test_a_fleet_comes_back_spread_out(back_s: float, most: int) -> None:
    """300 gateways: the busiest second after a glitch sees a half of them at most, after an outage a tenth."""
    times = connect_times(300, back_s, 30.0, seed=20260301)
    assert len(times) == 300 and times[-1] < back_s + 30.0
    assert busiest_second(times) <= most


def test_waits_grow_to_their_bound_and_stay_below() -> None:
    waits = pauses(20.0, random.Random(1))
    seen = [next(waits) for _ in range(2000)]
    assert max(seen) <= 20.0 and max(seen[:1]) <= 3.0 and max(seen[:2]) <= 6.0
    assert sum(seen[10:]) / len(seen[10:]) == pytest.approx(10.0, rel=0.05)
    assert len({round(b - a, 6) for a, b in pairwise(seen)}) > 1900


@pytest.mark.parametrize(
    ("text", "parts"),
    [("10.0.0.3", ("10.0.0.3", 1883)), ("b-2:8883", ("b-2", 8883)), ("[fd00::3]:8883", ("fd00::3", 8883)),
     ("[fd00::3]", ("fd00::3", 1883))],
)  # fmt: skip
def test_a_fallback_is_a_host_and_perhaps_a_port(text: str, parts: tuple[str, int]) -> None:
    assert host_port(text, 1883) == parts
    assert BrokerConfig(host="a", fallback=(text,)).access(Path()).brokers[1] == parts


def test_access_shows_no_password(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    access = BrokerConfig(host="a", username="u", password_file=Path("secret")).access(tmp_path)
    assert access.password == "s3cret"
    assert "s3cret" not in repr(access) + str(access)


def test_tls_has_its_own_port() -> None:
    assert BrokerConfig(host="a").port == 1883
    assert BrokerConfig(host="a", tls_ca=Path("ca.pem")).port == 8883
    assert BrokerConfig(host="a", tls_ca=Path("ca.pem"), port=1884).port == 1884


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_it_fails_over_and_returns_to_the_first(tmp_path: Path, version: str) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = Mosquitto(tmp_path / "one"), Mosquitto(tmp_path / "two")
    access = Access((("127.0.0.1", first.port), ("127.0.0.1", second.port)), reconnect_s=0.2, version=version)
    connection = Connection(access, "gw", lambda: None, lambda _t, _p: None)
    connection.start()
    with second:
        await until(lambda: connection.connected)
        assert connection.broker.endswith(str(second.port))
        with first:
            second.kill()
            await until(lambda: connection.connected and connection.broker.endswith(str(first.port)))
    await connection.stop()
    assert connection.connects == 2


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_the_status_is_right_after_a_start_a_cut_a_return_and_a_goodbye(
    tmp_path: Path, version: str
) -> None:
    receipts: list[Receipt] = []
    with Mosquitto(tmp_path) as broker:
        config = BrokerConfig(host="127.0.0.1", port=broker.port, reconnect_s=1, mqtt=version)  # type: ignore[arg-type]
        uplink = Uplink(config, tmp_path, "calais", "gw-1", b"{}", receipts.append, lambda: None)
        status = "bollard/1/calais/gw-1/status"
        async with watching(broker.port, "bollard/1/#") as watcher:
            uplink.start({"state": "offline", "by": "will"})
            await until(lambda: uplink.connected)
            uplink.publish_status({"state": "online"})
            await until(lambda: watcher.last(status) == b'{"state": "online"}')
            assert uplink._connection is not None
            uplink._connection.cut()  # as if the process had been killed
            await until(lambda: json.loads(watcher.last(status) or b"{}").get("by") == "will")
            await until(lambda: uplink.connected)
            uplink.publish_status({"state": "online"})
            await until(lambda: watcher.last(status) == b'{"state": "online"}')
            watcher.connection.publish("bollard/1/calais/gw-1/receipt", Receipt("s", 1, "0", 1).encode())
            await until(lambda: receipts)
            before = len(watcher.heard)
            await uplink.stop({"state": "offline", "by": "goodbye"})
            await until(lambda: len(watcher.heard) > before)
            assert json.loads(watcher.last(status) or b"{}") == {"state": "offline", "by": "goodbye"}
        async with watching(broker.port, status) as late:  # retained, and no will came after it
            await until(lambda: late.heard)
            assert json.loads(late.heard[-1][1])["by"] == "goodbye"


@pytest.mark.mosquitto
async def test_a_goodbye_that_nobody_takes_leaves_the_will(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        status = "bollard/1/calais/gw-1/status"
        config = BrokerConfig(host="127.0.0.1", port=broker.port)
        uplink = Uplink(config, tmp_path, "calais", "gw-1", b"{}", lambda _: None, lambda: None)
        async with watching(broker.port, status) as watcher:
            uplink.start({"state": "offline", "by": "will"})
            await until(lambda: uplink.connected)
            assert uplink._connection is not None
            uplink._connection._client._send_publish = lambda *_, **__: 0  # a line that takes nothing
            await uplink.stop({"state": "offline", "by": "goodbye"})
            await until(lambda: watcher.heard)
            assert json.loads(watcher.heard[-1][1])["by"] == "will"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_something_else_at_the_port_is_named_and_tried_again(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    async def not_a_broker(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(not_a_broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = Connection(
        Access((("127.0.0.1", port),), reconnect_s=0.1), "gw", lambda: None, lambda _t, _p: None
    )
    connection.start()
    await until(lambda: calls > 2)
    await connection.stop()
    server.close()
    assert not connection.connected
    said = [record.message for record in caplog.records if "event=no_broker" in record.message]
    assert 1 <= len(said) <= 2  # once for each reason, not for each attempt


async def test_nobody_there_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    access = Access((("127.0.0.1", port),), reconnect_s=0.05)
    connection = Connection(access, "gw", lambda: None, lambda _t, _p: None)
    connection.start()
    await until(lambda: caplog.records)
    await asyncio.sleep(0.3)
    await connection.stop()
    said = [record.message for record in caplog.records if "event=no_broker" in record.message]
    assert said == [
        f"event=no_broker broker=127.0.0.1:{port} reason='no answer (Connection refused);"
        " check [broker] host and port'"
    ]


@pytest.mark.mosquitto
async def test_a_goodbye_in_the_instant_of_a_loss_is_no_error(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        connection = Connection(Access((("127.0.0.1", broker.port),)), "gw", lambda: None, lambda _t, _p: None)
        connection.start()
        await until(lambda: connection.connected)
        connection.cut()
        while connection._client.socket() is not None:  # the event loop has not heard of it yet
            time.sleep(0.01)  # noqa: ASYNC251 - it must not hear
        assert connection.connected
        await connection.stop(("status", b"{}"))


async def test_a_bug_in_the_connection_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Connection, "_open", broken)
    access = Access((("127.0.0.1", free_port()),))
    connection = Connection(access, "gw", lambda: None, lambda _t, _p: None)
    connection.start()
    with pytest.raises(KeyError, match="a bug"):
        await connection.lasting()
    with pytest.raises(KeyError, match="a bug"):
        await connection.stop()
