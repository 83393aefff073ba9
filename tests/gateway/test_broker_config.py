"""What `bollard broker config` writes, in a real mosquitto: who may connect, and what each may do."""

import asyncio
import getpass
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from processes import free_port
from servers.mosquitto import Mosquitto
from shore import FOREVER, GATEWAY, SITE, T, batch, catalogue, row
from typer.testing import CliRunner

from edge.mqtt import Access, Connection
from edge.tls import TlsFiles
from edge.wire import decode_receipt, topic
from gateway.broker_cli import app
from gateway.config import load_shore, parse_shore
from gateway.ingest import run_ingest
from gateway.intake import Counters
from gateway.pki import Pki

DEADLINE_S = 40.0
OTHER = "gw-quay-2"
ROWS = [row(T + i, power_w=float(i), state=7) for i in range(10)]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - plain objects, changed by callbacks
            await asyncio.sleep(0.02)


class Port:
    """A CA with two gateways and a shore service, and the broker that was configured for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = Pki.init(folder / "pki")
        for name in (f"{SITE}/{GATEWAY}", f"{SITE}/{OTHER}"):
            self.pki.issue("gateway", name)
        self.pki.issue("shore", "ingest-1")
        self.pki.issue("broker", "b1", ["127.0.0.1"])
        (folder / "mosquitto").mkdir()
        self.broker = Mosquitto(folder, made=folder / "mosquitto", port=free_port())
        self.shore_file = folder / "shore.toml"
        tls = "".join(f'tls_{k} = "pki/{v}"\n' for k, v in self.files("ingest-1").items())
        self.shore_file.write_text(
            f'schema = 1\n[store]\nurl = "sqlite:s.db"\n[broker]\nport = {self.broker.port}\n{tls}'
        )
        self.configure()

    @staticmethod
    def files(stem: str) -> dict[str, str]:
        return {"ca": "ca.pem", "cert": f"{stem}.pem", "key": f"{stem}.key"}

    def configure(self) -> str:
        done = CliRunner().invoke(
            app,
            ["config", "--shore", str(self.shore_file), "--pki", str(self.pki.folder), "--bind", "127.0.0.1",
             "--out", str(self.folder / "mosquitto"), "--user", getpass.getuser()],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        return done.stdout

    def access(self, stem: str, version: str = "3.1.1", folder: Path | None = None) -> Access:
        names = self.files(stem)
        own = folder or self.pki.folder
        tls = TlsFiles(self.pki.folder / names["ca"], own / names["cert"], own / names["key"])
        brokers = (("127.0.0.1", self.broker.port),)
        return Access(brokers, reconnect_s=0.5, version=version, tls=tls)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    made = Port(tmp_path)
    with made.broker:
        yield made


class Client:
    """Somebody with a certificate, and what he hears."""

    def __init__(self, access: Access, *filters: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._filters = list(filters)
        self.connection = Connection(access, f"client-{id(self)}", self._subscribe, self._hear)

    def _subscribe(self) -> None:
        self.connection.subscribe(self._filters)

    def _hear(self, topic: str, payload: bytes) -> None:
        self.heard.append((topic, payload))

    def topics(self) -> list[str]:
        return [topic for topic, _ in self.heard]


@asynccontextmanager
async def client(access: Access, *filters: str) -> AsyncIterator[Client]:
    made = Client(access, *filters)
    made.connection.start()
    try:
        await until(lambda: made.connection.subscribed)
        yield made
    finally:
        await made.connection.stop()


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_batch_goes_from_gateway_to_store_and_its_receipt_back(port: Port, version: str) -> None:
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    counters = Counters()
    settings = parse_shore(
        {"schema": 1, "store": {"url": "sqlite:s.db"},
         "broker": {"port": port.broker.port, "mqtt": version, "share": "ingest",
                    **{f"tls_{k}": f"pki/{v}" for k, v in port.files("ingest-1").items()}}},
        port.shore_file,
    )  # fmt: skip
    task = asyncio.create_task(run_ingest(settings, lambda n, _: ready.set_result(n), counters))
    await asyncio.wait_for(ready, DEADLINE_S)
    receipt = topic(SITE, GATEWAY, "receipt")
    async with client(port.access(f"{SITE}.{GATEWAY}", version), receipt) as edge:
        edge.connection.publish(topic(SITE, GATEWAY, "catalogue"), catalogue().encode(), retain=True)
        for number in range(100):  # more than the 20 that brokers and clients take in flight by themselves
            edge.connection.publish(topic(SITE, GATEWAY, "data"), batch(number, ROWS))
        await until(lambda: len(edge.heard) == 100)
        assert {decode_receipt(payload).stored for _, payload in edge.heard} == {10}
    task.cancel()
    await asyncio.wait([task])
    assert (counters.batches, counters.forged) == (100, 0)


@pytest.mark.mosquitto
async def test_ingest_tells_that_its_certificate_ends(port: Port) -> None:
    port.pki.renew("ingest-1", days=5)
    settings = load_shore(port.shore_file)
    ready = asyncio.Event()
    for _ in range(2):  # a restart on the same day says the same, and so nothing more
        ready.clear()
        task = asyncio.create_task(run_ingest(settings, lambda *_: ready.set()))
        await asyncio.wait_for(ready.wait(), DEADLINE_S)
        store = settings.store.open(create=False)
        await until(lambda store=store: len(store.columns("event", None, ("value",), *FOREVER)))  # type: ignore[misc]
        task.cancel()
        await asyncio.wait([task])
        events = store.columns("event", None, ("value", "text"), *FOREVER)
        store.close()
        assert (events["value"].tolist(), events.text["text"].tolist()) == ([5.0], ["ingest-1"])
        assert [events.text[tag][0] for tag in ("code", "point", "gateway")] == [
            "certificate_expires", "client", "shore",
        ]  # fmt: skip


@pytest.mark.mosquitto
async def test_a_stolen_certificate_speaks_for_its_own_gateway_only(port: Port) -> None:
    leaves = ("data", "data-z", "status", "catalogue", "receipt")
    everything = [topic("+", "+", leaf) for leaf in leaves]
    async with (
        client(port.access("ingest-1"), *everything) as shore,
        client(port.access(f"{SITE}.{GATEWAY}"), topic(SITE, GATEWAY, "receipt")) as victim,
        client(port.access(f"{SITE}.{OTHER}"), *everything, "#") as thief,
    ):
        for leaf in leaves:
            thief.connection.publish(topic(SITE, GATEWAY, leaf), b"forged")
            thief.connection.publish(topic("elsewhere", OTHER, leaf), b"forged")
        thief.connection.publish(topic(SITE, OTHER, "receipt"), b"forged")
        thief.connection.publish("anything/else", b"forged")
        thief.connection.publish(topic(SITE, OTHER, "data"), b"its own")  # and by then the others have gone by
        await until(lambda: shore.heard)
        assert shore.heard == [(topic(SITE, OTHER, "data"), b"its own")]

        shore.connection.publish(topic(SITE, GATEWAY, "receipt"), b"not for the thief")
        shore.connection.publish(topic(SITE, OTHER, "receipt"), b"for the thief")
        await until(lambda: thief.heard and victim.heard)
        assert thief.heard == [(topic(SITE, OTHER, "receipt"), b"for the thief")]
        assert victim.heard == [(topic(SITE, GATEWAY, "receipt"), b"not for the thief")]


@pytest.mark.mosquitto
async def test_a_thief_leaves_no_false_will(port: Port) -> None:
    access = port.access(f"{SITE}.{OTHER}")
    async with client(port.access("ingest-1"), topic("+", "+", "status")) as shore:
        for gateway in (GATEWAY, OTHER):
            will = (topic(SITE, gateway, "status"), b"will")
            thief = Connection(access, f"thief-{gateway}", lambda: None, lambda _t, _p: None, will)
            thief.start()
            await until(lambda thief=thief: thief.connected)  # type: ignore[misc]
            thief.cut()
            await until(lambda thief=thief: not thief.connected)  # type: ignore[misc]
            await thief.stop()
        await until(lambda: shore.heard)
        assert shore.topics() == [topic(SITE, OTHER, "status")]


async def refused(access: Access, caplog: pytest.LogCaptureFixture) -> str:
    """Why this one cannot connect."""
    caplog.clear()
    caplog.set_level(logging.WARNING)
    connection = Connection(access, "stranger", lambda: None, lambda _t, _p: None)
    connection.start()
    await until(lambda: "event=no_broker" in caplog.text or connection.connected)
    assert not connection.connected
    await connection.stop()
    return caplog.text


@pytest.mark.mosquitto
async def test_who_has_no_good_certificate_stays_outside(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = Pki.init(tmp_path / "foreign")
    foreign.issue("gateway", f"{SITE}/{GATEWAY}")
    good = port.access(f"{SITE}.{GATEWAY}")
    assert good.tls is not None
    ours = "our certificate may have expired, be revoked, or be of a CA that it does not know"
    assert ours in await refused(port.access(f"{SITE}.{GATEWAY}", folder=foreign.folder), caplog)
    assert ours in await refused(port.access("b1"), caplog)  # a broker's certificate does not log in
    bare = Access(good.brokers, tls=TlsFiles(good.tls.ca))
    assert ours in await refused(bare, caplog)
    assert "event=no_broker" in await refused(Access(good.brokers), caplog)  # without TLS
    suspicious = Access(good.brokers, tls=TlsFiles(foreign.folder / "ca.pem", good.tls.cert, good.tls.key))
    assert "its certificate is not accepted" in await refused(suspicious, caplog)
    elsewhere = Access((("localhost", port.broker.port),), tls=good.tls)
    assert "not valid for 'localhost'" in await refused(elsewhere, caplog)


@pytest.mark.mosquitto
async def test_a_revoked_gateway_is_refused_and_its_successor_taken(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    stolen = port.folder / "stolen"
    stolen.mkdir()
    for file in port.pki.folder.glob(f"{SITE}.{GATEWAY}.*"):
        (stolen / file.name).write_bytes(file.read_bytes())
    port.pki.revoke(f"{SITE}/{GATEWAY}")
    port.configure()
    assert f"user {SITE}/{GATEWAY}\n" not in (port.folder / "mosquitto" / "acl").read_text()
    port.pki.issue("gateway", f"{SITE}/{GATEWAY}")
    port.configure()
    port.broker.kill()
    port.broker.start()
    async with client(port.access(f"{SITE}.{GATEWAY}"), topic(SITE, GATEWAY, "receipt")):
        pass
    said = await refused(port.access(f"{SITE}.{GATEWAY}", folder=stolen), caplog)
    assert "be revoked" in said


@pytest.mark.mosquitto
async def test_a_renewed_certificate_is_taken_without_a_restart(port: Port) -> None:
    access = port.access(f"{SITE}.{GATEWAY}")
    async with client(access, topic(SITE, GATEWAY, "receipt")) as edge:
        port.pki.renew(f"{SITE}/{GATEWAY}")
        edge.connection.cut()
        await until(lambda: edge.connection.connects == 2)


# Without a broker: what is written


def test_rules_follow_the_sites_of_the_shore_file(port: Port) -> None:
    text = port.shore_file.read_text()
    port.shore_file.write_text(text.replace("schema = 1\n", 'schema = 1\nsites = ["elsewhere"]\n'))
    assert port.configure().splitlines() == [
        f"{port.folder}/mosquitto/{name}" for name in ("mosquitto.conf", "acl")
    ]
    rules = (port.folder / "mosquitto" / "acl").read_text()
    assert "user demo-port" not in rules
    assert "topic read bollard/1/elsewhere/+/data\n" in rules and "bollard/1/+/" not in rules


def test_a_site_file_gives_one_gateway(tmp_path: Path) -> None:
    pki = Pki.init(tmp_path / "pki")
    site = tmp_path / "site.toml"
    site.write_text('[site]\nname = "calais"\ngateway = "gw-1"\n[broker]\nhost = "b"\ntls_ca = "ca.pem"\n')
    command = ["config", "--site", str(site), "--pki", str(pki.folder), "--out", str(tmp_path / "out")]
    run = CliRunner().invoke
    said = run(app, command)
    assert said.exit_code == 2 and "bollard pki gateway calais/gw-1" in said.stderr
    pki.issue("gateway", "calais/gw-1")
    assert "bollard pki broker NAME --host ADDRESS" in run(app, command).stderr
    pki.issue("broker", "b1", ["b"])
    assert run(app, command).exit_code == 0
    assert "listener 8883 0.0.0.0\n" in (tmp_path / "out" / "mosquitto.conf").read_text()
    assert (tmp_path / "out" / "acl").read_text().count("user ") == 1
    site.write_text(site.read_text() + "window = 5000\n")
    assert "broker.window = 5000: the broker takes 1000 in flight" in run(app, command).stderr
    assert "give --shore FILE, or --site FILE" in run(app, ["config", "--pki", str(pki.folder)]).stderr
    assert json.loads((pki.folder / "issued.json").read_text())[0]["name"] == "calais/gw-1"
