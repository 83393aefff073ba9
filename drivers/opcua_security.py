"""Who the server is and who we are: a pinned certificate and our own; never less security than was asked for."""

import asyncio
import hashlib
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto import security_policies
from asyncua.crypto.cert_gen import (
    dump_private_key_as_pem,
    generate_private_key,
    generate_self_signed_app_certificate,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from drivers.errors import DeviceUnreachable
from drivers.opcua_settings import OpcUaSettings
from drivers.opcua_transport import ReadOnlyClient, reason
from drivers.readonly import NotARead

POLICIES = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
MODES = {"Sign": ua.MessageSecurityMode.Sign, "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt}
OWN_DAYS = 3650  # servers trust it by its bytes: a new one has to be accepted by hand on every server
_making = threading.Lock()  # two devices that start at once share one certificate


class NotTrusted(DeviceUnreachable):
    """The server is not the pinned one, or offers less security than asked for: nothing is sent to it."""


@dataclass(frozen=True)
class Endpoint:
    """One way in that a server offers.

    Attributes:
        policy: None, Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss, or one that is not used.
        mode: None, Sign or SignAndEncrypt.
        fingerprint: SHA-256 of its certificate, 64 hex digits; empty where it has none.
        subject: Whom the certificate names.
        valid_until: Last day of the certificate, as in 2036-03-01.
        users: How one may sign on: Anonymous, UserName, Certificate.
        certificate: DER.
    """

    url: str
    policy: str
    mode: str
    fingerprint: str
    subject: str
    valid_until: str
    users: tuple[str, ...]
    certificate: bytes = b""


async def endpoints(url: str, timeout_s: float = 4.0) -> list[Endpoint]:
    """All that a server offers, asked for without security, as the standard foresees.

    Raises: DeviceUnreachable.
    """
    try:
        return await _endpoints(url, timeout_s)
    except NotARead:
        raise
    except Exception as error:  # on answers that are wrong or forged asyncua raises errors of many kinds
        raise DeviceUnreachable(f"{url}: does not tell its endpoints: {reason(error)}") from error


async def _endpoints(url: str, timeout_s: float) -> list[Endpoint]:
    client = ReadOnlyClient(url, timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            found = await client.connect_and_get_server_endpoints()
    finally:
        client.disconnect_socket()
    return [_endpoint(one) for one in found if str(one.EndpointUrl).startswith("opc.tcp://")]


def _endpoint(found: Any) -> Endpoint:
    der = _first(found.ServerCertificate or b"")
    subject, until = "", ""
    if der:
        try:
            certificate = x509.load_der_x509_certificate(der)
            subject = certificate.subject.rfc4514_string()
            until = certificate.not_valid_after_utc.date().isoformat()
        except ValueError:
            subject = "unreadable"
    users = dict.fromkeys(token.TokenType.name for token in found.UserIdentityTokens or [])
    return Endpoint(
        url=str(found.EndpointUrl), policy=str(found.SecurityPolicyUri).rpartition("#")[2],
        mode=found.SecurityMode.name.rstrip("_"), fingerprint=fingerprint(der) if der else "",
        subject=subject, valid_until=until, users=tuple(users), certificate=der,
    )  # fmt: skip


def best_of(offered: Sequence[Endpoint]) -> Endpoint | None:
    """The way in to choose: encrypted before signed before none, and then the newest policy that is used here.

    Policies that rest on SHA-1 (Basic128Rsa15, Basic256) are never chosen: OPC 10000-7 has withdrawn them.
    """
    policies, modes = ("None", *POLICIES), ("None", *MODES)
    usable = [e for e in offered if e.policy in policies and e.mode in modes]
    return max(usable, key=lambda e: (modes.index(e.mode), policies.index(e.policy)), default=None)


async def secure(
    client: ReadOnlyClient, endpoint: str, url: str, settings: OpcUaSettings, timeout_s: float
) -> None:
    """Set up a client, not yet connected, as the settings ask; nothing less is ever used.

    Raises: NotTrusted, which says what was seen and what to do; OSError, UaError.
    """
    if settings.security_policy == "None":
        return
    offered = await _endpoints(url, timeout_s)
    wanted = [e for e in offered if (e.policy, e.mode) == (settings.security_policy, settings.mode)]
    if not wanted:
        known = ", ".join(sorted({f"{e.policy}/{e.mode}" for e in offered})) or "none"
        raise NotTrusted(
            f"{endpoint}: does not offer {settings.security_policy}/{settings.mode}, only {known}; enable it in"
            " the server, or change security_policy and mode in [device.opcua]"
        )
    server = wanted[0]
    check_pin(endpoint, server, settings.server_fingerprint)
    assert settings.certificate_file is not None and settings.key_file is not None  # OpcUaDevice has checked
    certificate, key, uri = await asyncio.to_thread(
        own_identity, settings.certificate_file, settings.key_file, endpoint
    )
    policy = POLICIES[settings.security_policy]
    client.application_uri = uri
    client.security_policy = policy(
        x509.load_der_x509_certificate(server.certificate), certificate, key, MODES[settings.mode]
    )
    client.uaclient.set_security(client.security_policy)
    if settings.username:
        client.set_user(settings.username)
        client.set_password(await asyncio.to_thread(_password, settings, endpoint))


def check_pin(endpoint: str, server: Endpoint, pinned: str) -> None:
    """Compare the server's certificate with the one that the site file names. Raises: NotTrusted."""
    if server.fingerprint == pinned and pinned:
        return
    seen = f'server_fingerprint = "{server.fingerprint}" ({server.subject}, valid until {server.valid_until})'
    if not pinned:
        raise NotTrusted(
            f"{endpoint}: no certificate is pinned; the server shows {seen}; compare it with what the server's own"
            " display or tool says, then write it into [device.opcua]"
        )
    raise NotTrusted(
        f"{endpoint}: the server shows {seen}, but {pinned} is pinned; if its certificate was renewed on purpose,"
        " compare and write the new one into [device.opcua], else somebody stands between"
    )


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, in hex."""
    return hashlib.sha256(der).hexdigest()


def own_identity(certificate_file: Path, key_file: Path, endpoint: str) -> tuple[x509.Certificate, Any, str]:
    """Our certificate, private key and application URI; made at the first call, then kept for years.

    Raises: NotTrusted if the files cannot be used.
    """
    with _making:
        if not certificate_file.exists() and not key_file.exists():
            _make_identity(certificate_file, key_file)
    try:
        if key_file.stat().st_mode & 0o007:
            raise NotTrusted(f"{endpoint}: {key_file}: anybody may read this private key; chmod 600 it")
        key = load_pem_private_key(key_file.read_bytes(), None)
        certificate = _certificate(certificate_file.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise NotTrusted(
            f"{endpoint}: {certificate_file} and {key_file} are no certificate with its key: {error};"
            " give both, or move both away to have them made"
        ) from error
    if certificate.public_key() != key.public_key():
        raise NotTrusted(f"{endpoint}: {key_file} is not the key of {certificate_file}; give the pair")
    if not uris:
        raise NotTrusted(f"{endpoint}: {certificate_file} names no application URI; servers refuse it without")
    if certificate.not_valid_after_utc < datetime.now(UTC):
        until = certificate.not_valid_after_utc.date()
        raise NotTrusted(
            f"{endpoint}: {certificate_file} was valid until {until}; move it and its key away to have new ones"
            " made, then trust the new certificate in the server"
        )
    return certificate, key, uris[0]


def _make_identity(certificate_file: Path, key_file: Path) -> None:
    host = socket.gethostname()
    key = generate_private_key()
    certificate = generate_self_signed_app_certificate(
        key, f"bollard on {host}", {"organizationName": "bollard"},
        [x509.UniformResourceIdentifier(f"urn:{host}:bollard:edge"), x509.DNSName(host)],
        [ExtendedKeyUsageOID.CLIENT_AUTH], days=OWN_DAYS,
    )  # fmt: skip
    for file in (certificate_file, key_file):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(key_file, dump_private_key_as_pem(key), 0o600)
    _write(certificate_file, certificate.public_bytes(Encoding.DER), 0o644)


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, also through a power cut."""
    draft = file.with_suffix(file.suffix + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)


def _certificate(content: bytes) -> x509.Certificate:
    if content.startswith(b"-----"):
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


def _password(settings: OpcUaSettings, endpoint: str) -> str:
    if settings.password_file is None:
        return ""
    try:
        return settings.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise NotTrusted(f"{endpoint}: password_file {settings.password_file}: {error}") from error


def _first(chain: bytes) -> bytes:
    """The first certificate of a DER chain: what a server sends may have its issuers behind it."""
    if len(chain) < 4 or chain[:2] != b"\x30\x82":
        return chain
    return chain[: 4 + int.from_bytes(chain[2:4], "big")]
