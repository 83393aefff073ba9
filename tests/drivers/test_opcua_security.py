"""Who the server is, who we are, and that nothing less than what was asked for is ever used."""

import asyncio
import hashlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import SimpleRoleRuleset
from asyncua.server.user_managers import User, UserRole
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sim_battery import BMS, SimBattery

from drivers.errors import DeviceUnreachable
from drivers.opcua import OpcUaDevice
from drivers.opcua_security import NotTrusted, endpoints, own_identity
from drivers.opcua_settings import OpcUaSettings
from drivers.profile import Profile
from drivers.row import Quality
from firmware_sim.opcua_security import APPLICATION_URI, server_identity

pytestmark = pytest.mark.asyncio(loop_scope="module")
POLICIES = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
PIN = hashlib.sha256(x509.load_pem_x509_certificate(server_identity()[1]).public_bytes(Encoding.DER)).hexdigest()
POINT = {"name": "x", "type": "float64", "node": "ns=2;s=x"}
ONE = Profile.model_validate(
    {"schema": 1, "kind": "battery", "model": "t", "source": "t", "protocol": "opcua", "point": [POINT]}
)


class Door:
    """Lets one user in."""

    def get_user(self, server: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
        if username is None or (username, password) == ("edge", "s3cret"):
            return User(role=UserRole.User)
        return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def all_policies() -> AsyncIterator[str]:
    """A server of every policy and mode that is worth something, and none without; its URL."""
    server = Server(user_manager=Door())
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/all")
    await server.set_application_uri(APPLICATION_URI)
    short = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
    server.set_security_policy(
        [getattr(ua.SecurityPolicyType, f"{p}_{m}") for p in short for m in ("Sign", "SignAndEncrypt")],
        permission_ruleset=SimpleRoleRuleset(),
    )
    server.set_identity_tokens([ua.AnonymousIdentityToken, ua.UserNameIdentityToken])
    key, certificate = server_identity()
    await server.load_private_key(key, format="pem")
    await server.load_certificate(certificate, "pem")
    await server.register_namespace("urn:test")
    await server.nodes.objects.add_variable(ua.NodeId("x", 2), "x", 1.5)
    await server.start()
    yield f"opc.tcp://127.0.0.1:{server.bserver._server.sockets[0].getsockname()[1]}/all"
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def battery() -> AsyncIterator[SimBattery]:
    """A battery that offers Basic256Sha256 with SignAndEncrypt, and None."""
    battery = SimBattery("both")
    await battery.start()
    yield battery
    await battery.server.stop()


def settings(folder: Path, **chosen: Any) -> OpcUaSettings:
    usual = {"security_policy": "Basic256Sha256", "server_fingerprint": PIN}
    return OpcUaSettings(**usual | chosen).beside(folder, folder / "own")


async def read(url: str, chosen: OpcUaSettings) -> tuple[float, int]:
    async with OpcUaDevice(ONE, url, 5.0, chosen).open() as link:
        row = await link.scan("live", time.time_ns)
        return float(row.values[0]), int(row.quality[0])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
async def test_each_policy_and_mode(all_policies: str, tmp_path: Path, policy: str, mode: str) -> None:
    chosen = settings(tmp_path, security_policy=policy, mode=mode)
    assert await read(all_policies, chosen) == (1.5, Quality.GOOD)


async def test_an_encrypted_subscription_outlives_its_keys(battery: SimBattery, tmp_path: Path) -> None:
    chosen = settings(tmp_path, subscribe=True, publishing_s=0.05)
    soc = BMS.index["soc_bms"]
    async with OpcUaDevice(BMS, battery.url, 5.0, chosen).open() as link:
        for charge in (0.6, 0.7, 0.8):
            await battery.show(soc_bms=charge)
            requests, row = -1, None
            async with asyncio.timeout(30):
                while row is None or requests != link.requests or row.values[soc] != charge:  # until it is told
                    requests = link.requests
                    await asyncio.sleep(0.1)
                    row = await link.scan("live", time.time_ns)
            token = link._client.uaclient.protocol._connection.security_token.TokenId
            link._renew_at_s = 0.0
            await link.scan("live", time.time_ns)
            await link.read([ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)])
            assert link._client.uaclient.protocol._connection.security_token.TokenId == token + 1
        assert link.faults == {}


async def test_the_endpoints_are_told_with_their_fingerprint(battery: SimBattery) -> None:
    found = await endpoints(battery.url)
    assert {(e.policy, e.mode) for e in found} == {("None", "None"), ("Basic256Sha256", "SignAndEncrypt")}
    secured = next(e for e in found if e.mode == "SignAndEncrypt")
    assert secured.fingerprint == PIN and "bollard simulator" in secured.subject
    assert secured.users == ("Anonymous",) and secured.valid_until


async def test_nothing_is_sent_to_a_server_that_is_not_pinned(battery: SimBattery, tmp_path: Path) -> None:
    with pytest.raises(NotTrusted) as raised:
        await read(battery.url, settings(tmp_path, server_fingerprint=""))
    said = str(raised.value)
    assert f'no certificate is pinned; the server shows server_fingerprint = "{PIN}"' in said
    assert "then write it into [device.opcua]" in said
    assert not (tmp_path / "own").exists(), "nobody was shown who we are"


async def test_another_certificate_than_the_pinned_one_is_refused(
    battery: SimBattery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    device = OpcUaDevice(ONE, battery.url, 5.0, settings(tmp_path, server_fingerprint=64 * "a"))
    for _ in range(2):
        with pytest.raises(NotTrusted, match=f'shows server_fingerprint = "{PIN}".*but {64 * "a"} is pinned'):
            async with device.open():
                pass
    assert len([r for r in caplog.records if r.name.startswith("drivers")]) == 1, "told once"


@pytest.mark.parametrize(
    ("chosen", "offered"),
    [
        ({"mode": "Sign"}, "does not offer Basic256Sha256/Sign, only Basic256Sha256/SignAndEncrypt, None/None"),
        ({"security_policy": "Aes256_Sha256_RsaPss"}, "does not offer Aes256_Sha256_RsaPss/SignAndEncrypt"),
    ],
)
async def test_less_than_asked_for_is_never_taken(
    battery: SimBattery, tmp_path: Path, chosen: dict[str, Any], offered: str
) -> None:
    with pytest.raises(NotTrusted, match=offered):
        await read(battery.url, settings(tmp_path, **chosen))


async def test_no_security_is_only_used_where_it_was_asked_for(all_policies: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnreachable, match="no session"):
        await read(all_policies, OpcUaSettings())


async def test_a_user_signs_on_with_a_password_from_a_file(all_policies: str, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    chosen = settings(tmp_path, username="edge", password_file="password")
    assert await read(all_policies, chosen) == (1.5, Quality.GOOD)
    password.write_text("guess")
    with pytest.raises(DeviceUnreachable) as raised:
        await read(all_policies, chosen)
    assert "the server does not let user 'edge' in" in str(raised.value)
    assert "guess" not in str(raised.value)
    password.unlink()
    with pytest.raises(NotTrusted, match=r"password_file .*password: .*No such file"):
        await read(all_policies, chosen)


async def test_a_server_that_does_not_know_us_yet_is_told_from_a_dead_one(
    battery: SimBattery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(certificate: Any, application: Any) -> None:
        raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    monkeypatch.setattr(battery.server._server.iserver, "certificate_validator", unknown)
    chosen = settings(tmp_path)
    with pytest.raises(
        DeviceUnreachable, match=r"no session: BadCertificateUntrusted: .* trust .*own/client\.der in"
    ):
        await read(battery.url, chosen)
    monkeypatch.undo()
    async with OpcUaDevice(BMS, battery.url, 5.0, chosen).open() as link:
        assert (await link.scan("live", time.time_ns)).values[BMS.index["soc_bms"]] > 0


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ACKF\x08\0\0\0", b"\0" * 200])
@pytest.mark.parametrize("secured", [False, True])
async def test_whatever_answers_it_is_no_more_than_unreachable(
    tmp_path: Path, answer: bytes, secured: bool
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    chosen = settings(tmp_path) if secured else OpcUaSettings()
    with pytest.raises(DeviceUnreachable, match="no session"):
        async with OpcUaDevice(ONE, url, 0.3, chosen).open():
            pass
    server.close()


async def test_our_certificate_is_made_once_and_kept(tmp_path: Path) -> None:
    certificate_file, key_file = tmp_path / "own" / "client.der", tmp_path / "own" / "client.key.pem"
    certificate, key, uri = own_identity(certificate_file, key_file, "x")
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert uri == f"urn:{socket.gethostname()}:bollard:edge"
    assert certificate.public_key() == key.public_key()
    assert own_identity(certificate_file, key_file, "x")[0] == certificate
    assert sorted(p.name for p in (tmp_path / "own").iterdir()) == ["client.der", "client.key.pem"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda certificate, key: key.chmod(0o604), "anybody may read this private key; chmod 600 it"),
        (lambda certificate, key: certificate.write_bytes(b"no"), "are no certificate with its key"),
        (lambda certificate, key: key.unlink(), "are no certificate with its key"),
        (lambda certificate, key: key.write_bytes(server_identity()[0]), "is not the key of"),
    ],
)
async def test_a_damaged_identity_is_told_with_its_remedy(tmp_path: Path, damage: Any, said: str) -> None:
    files = tmp_path / "client.der", tmp_path / "client.key.pem"
    own_identity(*files, "x")
    damage(*files)
    with pytest.raises(NotTrusted, match=said):
        own_identity(*files, "x")
