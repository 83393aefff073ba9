"""The OPC UA driver against a server that nobody here wrote: node-opcua, Sign & Encrypt only."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, peers
from processes import Process, free_port

from drivers.errors import DeviceUnreachable
from drivers.opcua import OpcUaDevice, OpcUaLink
from drivers.opcua_security import endpoints
from drivers.opcua_settings import OpcUaSettings
from drivers.profile import Profile
from drivers.row import Quality, Row

pytestmark = pytest.mark.npm
POINTS = [
    {"name": "counter", "type": "uint32", "node": "ns=1;s=counter"},
    {"name": "soc_bms", "type": "float64", "node": "ns=1;s=soc", "deadband": 0.01},
    {"name": "vessel", "type": "string", "length": 8, "node": "ns=1;s=ship"},
    {"name": "absent_v", "type": "float64", "node": "ns=1;s=absent"},
]
PROFILE = Profile.model_validate(
    {"schema": 1, "kind": "battery", "model": "t", "source": "t", "protocol": "opcua", "point": POINTS}
)
COUNTER, SOC, VESSEL, ABSENT = range(4)


class Peer:
    """A node-opcua server that keeps its port and its certificate over restarts."""

    def __init__(self, folder: Path) -> None:
        self.port, self.folder = free_port(), folder
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        self.process: Any = None

    def start(self) -> None:
        script = ROOT / "tests" / "peers" / "opcua_serve.js"
        env = {"PEERS": str(peers())}
        command = ["node", str(script), str(self.port), str(self.folder)]
        self.process = Process(command, timeout_s=120.0, env=env).__enter__()
        assert "namespace 1" in self.process.ready_line

    def stop(self) -> None:
        self.process.kill()
        self.process.__exit__()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    peer = Peer(tmp_path_factory.mktemp("pki"))
    peer.start()
    yield peer
    peer.stop()


async def device(peer: Peer, folder: Path, **chosen: Any) -> OpcUaDevice:
    """Pinned to what the server shows, as an engineer would after comparing."""
    usual = {"security_policy": "Basic256Sha256", "publishing_s": 0.1}
    pin = (await endpoints(peer.url, 20.0))[0].fingerprint
    settings = OpcUaSettings(**usual | {"server_fingerprint": pin} | chosen).beside(folder, folder / "own")
    return OpcUaDevice(PROFILE, peer.url, 20.0, settings)


async def rows_until(link: OpcUaLink, done: Callable[[Row], Any]) -> Row:
    async with asyncio.timeout(60):
        while not done(row := await link.scan("live", time.time_ns)):  # noqa: ASYNC110 - the link is asked
            await asyncio.sleep(0.2)
    return row


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"])
async def test_node_opcua_is_read_under_its_limits(peer: Peer, tmp_path: Path, policy: str) -> None:
    source = await device(peer, tmp_path, security_policy=policy)
    async with source.open() as link:
        row = await link.scan("live", time.time_ns)
        assert row.quality.tolist() == [Quality.GOOD, Quality.GOOD, Quality.GOOD, Quality.REFUSED]
        assert row.values[SOC] == 0.5 and row.text == {VESSEL: "AURELIE"}
        assert (source.limits.read, source.limits.items) == (2, 1)
        assert link.requests == 2 and link.faults == {"BadNodeIdUnknown": 1}
        assert abs(link.clock_offset_s) < 30.0


async def test_a_user_signs_on_at_node_opcua(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    source = await device(peer, tmp_path, username="edge", password_file="password")
    async with source.open() as link:
        assert (await link.scan("live", time.time_ns)).values[SOC] == 0.5
    (tmp_path / "password").write_text("guess")
    with pytest.raises(DeviceUnreachable, match="does not let user 'edge' in"):
        async with source.open():
            pass


async def test_node_opcua_publishes_is_lost_restarts_and_is_there_again(peer: Peer, tmp_path: Path) -> None:
    source = await device(peer, tmp_path, subscribe=("counter", "soc_bms", "vessel"))
    for again in (False, True):
        async with source.open() as link:
            first = (await rows_until(link, lambda _: link._watch._held)).values[COUNTER]
            row = await rows_until(link, lambda row, first=first: row.values[COUNTER] > first + 4)
            assert row.quality.tolist() == [Quality.GOOD, Quality.GOOD, Quality.GOOD, Quality.REFUSED]
            assert row.text == {VESSEL: "AURELIE"}
            asked = [link.requests]  # until nothing is left to ask for but the node that is not there
            await rows_until(
                link, lambda _, asked=asked: asked.append(link.requests) or asked[-1] - asked[-2] <= 1
            )
            if not again:
                peer.stop()
                with pytest.raises(DeviceUnreachable):
                    await rows_until(link, lambda _: False)
        if not again:
            with pytest.raises(DeviceUnreachable, match="connection refused"):
                async with source.open():
                    pass
            peer.start()


async def test_node_opcua_gives_the_past_of_a_gap(peer: Peer, tmp_path: Path) -> None:
    source = await device(peer, tmp_path)
    async with source.open() as link:
        before = await link.scan("live", time.time_ns)
    await asyncio.sleep(1.0)  # nobody listens
    async with source.open() as link:
        after = await link.scan("live", time.time_ns)
        rows = await link.history(before.t_ns, after.t_ns)
        assert [r.t_ns for r in rows] == sorted({r.t_ns for r in rows})
        assert before.t_ns < rows[0].t_ns and rows[-1].t_ns < after.t_ns
        counted = [row.values[COUNTER] for row in rows]
        assert counted == list(range(int(counted[0]), int(counted[-1]) + 1)), "each change of the gap, once"
        # a value may change between its reading and the row's time, which is that of the answer
        assert before.values[COUNTER] <= counted[0] and counted[-1] <= after.values[COUNTER] + 1
        assert len(counted) >= after.values[COUNTER] - before.values[COUNTER] - 2
        again = await link.history(before.t_ns, after.t_ns)
        assert [(r.t_ns, r.values[COUNTER]) for r in again] == [(r.t_ns, r.values[COUNTER]) for r in rows]
