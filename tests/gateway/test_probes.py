"""What ingest tells about itself, and that several of them share the work."""

import asyncio
import contextlib
import json
import queue
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from processes import Process
from servers.mosquitto import Mosquitto
from shore import FOREVER, GATEWAY, SITE, T, batch, catalogue, row

from edge.wire import Receipt, decode_receipt, topic
from gateway.config import HttpSettings
from gateway.errors import GatewayError
from gateway.probes import Answers, exposition, serving
from gateway.store import open_store

ANSWERS = Answers(alive=lambda: "", ready=lambda: "no broker", metrics=lambda: "a 1\n")


def ask(port: int, request: bytes) -> tuple[str, str]:
    """Status line and body of an answer; empty if there is none."""
    with socket.create_connection(("127.0.0.1", port), 20) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: line.recv(4096), b"")).decode()
    head, _, body = said.partition("\r\n\r\n")
    return head.partition("\r\n")[0], body


def get(port: int, path: str, method: str = "GET") -> tuple[str, str]:
    return ask(port, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_three_pages_and_nothing_else() -> None:
    async with serving(HttpSettings(host="127.0.0.1", port=0), ANSWERS) as port:
        told = [
            await asyncio.to_thread(get, port, path, method)
            for path, method in [
                ("/metrics", "GET"), ("/healthz", "GET"), ("/readyz?verbose", "GET"), ("/", "GET"),
                ("/metrics", "POST"), ("/metrics", "HEAD"),
            ]
        ]  # fmt: skip
        assert told == [
            ("HTTP/1.1 200 OK", "a 1\n"), ("HTTP/1.1 200 OK", "ok\n"),
            ("HTTP/1.1 503 Service Unavailable", "no broker\n"),
            ("HTTP/1.1 404 Not Found", "there is /metrics, /healthz and /readyz\n"),
            ("HTTP/1.1 405 Method Not Allowed", "only GET\n"), ("HTTP/1.1 200 OK", ""),
        ]  # fmt: skip
        for nonsense in (b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"G" * 100_000, b"", b"GET / HTTP/1.1\r\n"):
            with contextlib.suppress(ConnectionResetError):  # it did not read all of it
                assert await asyncio.to_thread(ask, port, nonsense) == ("", "")
        assert (await asyncio.to_thread(get, port, "/healthz"))[0] == "HTTP/1.1 200 OK"
        with pytest.raises(
            GatewayError, match=r"http port 127\.0\.0\.1:\d+: .* set another \[http\] host or port"
        ):
            async with serving(HttpSettings(host="127.0.0.1", port=port), ANSWERS):
                pass


def test_labels_are_escaped() -> None:
    text = exposition({"days": ("gauge", "left", {'a"b\\\n': 1.5}), "n": ("counter", "so many", 12_345_678)})
    assert text == (
        '# HELP days left\n# TYPE days gauge\ndays{name="a\\"b\\\\\\n"} 1.5\n'
        "# HELP n so many\n# TYPE n counter\nn 12345678\n"
    )


class Edge:
    """Publishes batches and keeps the receipts."""

    def __init__(self, port: int) -> None:
        self.receipts: queue.Queue[Receipt] = queue.Queue()
        subscribed = queue.Queue[bool]()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _d, m: self.receipts.put(decode_receipt(bytes(m.payload)))
        self._client.on_subscribe = lambda *_: subscribed.put(True)
        self._client.on_connect = lambda client, *_: client.subscribe(topic(SITE, "+", "receipt"), 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        subscribed.get(timeout=20)

    def publish(self, payload: bytes, leaf: str = "data") -> None:
        self._client.publish(topic(SITE, GATEWAY, leaf), payload, qos=1, retain=leaf == "catalogue")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as started:
        yield started


def metrics_of(port: int) -> dict[str, float]:
    lines = get(port, "/metrics")[1].splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if not line.startswith("#"))}


@pytest.mark.mosquitto
def test_two_workers_share_the_batches_and_one_of_them_may_be_killed(tmp_path: Path, broker: Mosquitto) -> None:
    shore = tmp_path / "shore.toml"
    shore.write_text(
        f'schema = 1\n[store]\nurl = "sqlite:s.db"\n[broker]\nport = {broker.port}\nshare = "ingest"\n'
    )
    command: list[Any] = ["python", "-m", "gateway.ingest_cli", "--shore", shore, "--http-port", "0"]
    with Process(command) as one, Process(command) as two:
        ports = [json.loads(worker.ready_line.removeprefix("ready "))["http"] for worker in (one, two)]
        assert [get(port, path)[1] for port in ports for path in ("/healthz", "/readyz")] == ["ok\n"] * 4
        edge = Edge(broker.port)
        edge.publish(catalogue().encode(), "catalogue")
        for number in range(40):
            edge.publish(batch(number, [row(T + number, power_w=1.0)]))
        assert {edge.receipts.get(timeout=30).batch for _ in range(40)} == set(range(40))
        stored = [metrics_of(port)["bollard_ingest_stored_total"] for port in ports]
        assert sum(stored) == 40 and min(stored) > 0
        two.kill()
        confirmed: set[int] = set()
        for number in range(40, 80):
            edge.publish(batch(number, [row(T + number, power_w=1.0)]))
        for _ in range(30):  # what the broker gave to the dead one comes again, as an edge does it
            while True:
                try:
                    confirmed.add(edge.receipts.get(timeout=1.0).batch)
                except queue.Empty:
                    break
            if len(confirmed) == 40:
                break
            for number in set(range(40, 80)) - confirmed:
                edge.publish(batch(number, [row(T + number, power_w=1.0)]))
        assert confirmed == set(range(40, 80))
        broker.kill()
        while get(ports[0], "/readyz")[1] == "ok\n":
            pass
        assert get(ports[0], "/readyz")[1] == "no broker: not connected and subscribed\n"
        assert get(ports[0], "/healthz")[1] == "ok\n"
        edge.close()
    store = open_store(f"sqlite:{tmp_path / 's.db'}", create=False)
    assert len(store.columns("charger", None, ("power_w",), *FOREVER)) == 80
    store.close()
