"""Sign & Encrypt, anonymous access, and the history of chosen nodes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.x509.oid import ExtendedKeyUsageOID

from drivers.profile import load_profile
from firmware_sim.opcua_server import OpcUaServer

BMS = load_profile("generic-bms")
HEARTBEAT, SOC = "ns=2;s=Battery.Heartbeat", "ns=2;s=Battery.Soc"
EPOCH_NS = 1_791_956_400_000_000_000
CLIENT_URI = "urn:bollard:test:client"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[tuple[OpcUaServer, str, dict[str, Any]]]:
    values: dict[str, Any] = {"heartbeat": 1, "soc_bms": 0.5}
    server = OpcUaServer("bms", BMS, lambda: dict(values), "both", ("soc_bms",))
    url = await server.start("127.0.0.1", 0, EPOCH_NS)
    yield server, url, values
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of a client, with its URI as the standard asks."""
    folder = tmp_path_factory.mktemp("client")
    certificate, key = folder / "client.der", folder / "client.pem"
    await setup_self_signed_certificate(
        key, certificate, CLIENT_URI, socket.gethostname(), [ExtendedKeyUsageOID.CLIENT_AUTH],
        {"commonName": "bollard test"},
    )  # fmt: skip
    return certificate, key


async def secured(url: str, identity: tuple[Path, Path]) -> Client:
    client = Client(url, timeout=3)
    client.application_uri = CLIENT_URI
    await client.set_security(SecurityPolicyBasic256Sha256, *identity, mode=ua.MessageSecurityMode.SignAndEncrypt)
    return client


async def test_the_end_points_are_those_that_were_asked_for(served: Any) -> None:
    found = await Client(served[1]).connect_and_get_server_endpoints()
    assert {(e.SecurityPolicyUri.rpartition("#")[2], e.SecurityMode.name) for e in found} == {
        ("None", "None_"), ("Basic256Sha256", "SignAndEncrypt"),
    }  # fmt: skip
    tokens = {token.TokenType for e in found for token in e.UserIdentityTokens}
    assert tokens == {ua.UserTokenType.Anonymous}


async def test_signed_and_encrypted(served: Any, identity: tuple[Path, Path]) -> None:
    async with await secured(served[1], identity) as client:
        assert await client.get_node(HEARTBEAT).read_value() == 1


async def test_anonymous_without_encryption(served: Any) -> None:
    async with Client(served[1]) as client:
        assert await client.get_node(HEARTBEAT).read_value() == 1


async def test_the_history_of_a_chosen_node_has_simulated_times_and_the_others_have_none(served: Any) -> None:
    server, url, values = served
    for i in range(1, 6):
        values["soc_bms"] = 0.5 + i / 100
        values["heartbeat"] = 1 + i
        await server.refresh(EPOCH_NS + i * 60 * 10**9)
        await asyncio.sleep(0.03)  # the history is written behind the value
    start = datetime.fromtimestamp(EPOCH_NS / 1e9, UTC)
    async with Client(url) as client:
        found = await client.get_node(SOC).read_raw_history(
            start + timedelta(seconds=90), start + timedelta(seconds=270)
        )
        assert [v.Value.Value for v in found] == [0.52, 0.53, 0.54]
        assert [(v.SourceTimestamp.replace(tzinfo=UTC) - start).total_seconds() for v in found] == [120, 180, 240]
        access = await client.get_node(HEARTBEAT).read_attribute(ua.AttributeIds.Historizing)
        assert access.Value.Value is False
        assert await client.get_node(HEARTBEAT).read_raw_history(start, start + timedelta(hours=1)) == []
