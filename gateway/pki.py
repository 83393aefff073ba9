"""A small CA in a folder, for ports without one: gateways, shore services and brokers get a certificate each.

    ca.pem ca.key     the CA; its key signs everything: keep this folder on one machine, backed up
    crl.pem           what was revoked, for the broker
    issued.json       what was issued, without secrets
    calais.gw-1.pem calais.gw-1.key …  certificate and key by name; the slash of a gateway's name is a dot

A certificate's common name is what the broker knows its owner by. A gateway's is SITE/GATEWAY, others have no
slash, so neither can be taken for the other. Purposes are pinned: a broker's certificate cannot log in, and no
other can pose as the broker.
"""

import fcntl
import ipaddress
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import GatewayError
from gateway.files import Content, write_whole

Role = Literal["gateway", "shore", "broker"]
NAMES: dict[Role, str] = {
    "gateway": r"[a-z0-9_-]{1,48}/[a-z0-9_-]{1,48}", "shore": r"[a-z0-9_-]{1,48}", "broker": r"[a-z0-9_-]{1,48}",
}  # fmt: skip
SHAPES = {"gateway": "SITE/GATEWAY, as in calais/gw-berth-6", "shore": "a name, as in ingest-1",
          "broker": "a name, as in broker-1"}  # fmt: skip
LONGEST_NAME = 64  # characters of a common name (RFC 5280, ub-common-name)
CA_DAYS, DAYS = 3650, 730
SLACK = timedelta(minutes=5)  # a gateway's clock may be a little behind when it gets its certificate


class PkiError(GatewayError):
    """The folder or a name cannot be used. One sentence: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate. Of a name that was renewed there are several; the newest is in its file."""

    name: str
    role: Role
    serial: str  # hex
    not_after: str  # ISO 8601, UTC
    hosts: tuple[str, ...] = ()  # of a broker
    revoked: str | None = None  # ISO 8601, UTC

    @property
    def ends(self) -> datetime:
        return datetime.fromisoformat(self.not_after)

    @property
    def stem(self) -> str:
        """Name of its files, without the ending."""
        return self.name.replace("/", ".")


class Pki:
    """The CA in a folder that `init` has made. Raises: PkiError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "ca.pem").is_file():
            raise PkiError(f"{folder}: no CA there (ca.pem); run `bollard pki init --pki {folder}` first")

    @classmethod
    def init(cls, folder: Path, name: str = "bollard CA", days: int = CA_DAYS) -> "Pki":
        """Make the CA. Raises: PkiError if there is one already, or the folder cannot be written."""
        if (folder / "ca.key").exists() or (folder / "ca.pem").exists():
            raise PkiError(f"{folder}: holds a CA already; a second one would make its certificates worthless")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PkiError(f"{folder}: cannot be made: {error.strerror}; give another folder") from error
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _dated(x509.CertificateBuilder(), days).subject_name(subject).issuer_name(subject)
        certificate = (
            builder.public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_others=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        with _locked(folder):
            _write(
                Content(folder / "ca.key", _pem(key), secret=True),
                Content(folder / "issued.json", b"[]\n"),
                Content(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            )
            pki = cls(folder)
            pki._write_crl([])
        return pki

    def issue(self, role: Role, name: str, hosts: Sequence[str] = (), days: int = DAYS) -> Issued:
        """A new key and certificate for a name that has none.

        Args:
            hosts: DNS names and addresses by which clients reach a broker.

        Raises: PkiError.
        """
        _check_name(role, name)
        if role == "broker" and not hosts:
            raise PkiError(f"broker {name}: clients compare its address; give each with --host, as in 10.20.0.2")
        with _locked(self.folder):
            taken = next((seen for seen in self.issued() if seen.name == name and seen.revoked is None), None)
            if taken is not None:
                raise PkiError(f"{name}: has a certificate until {taken.not_after[:10]}; renew or revoke that one")
            return self._sign(role, name, hosts, days)

    def renew(self, name: str, days: int = DAYS) -> Issued:
        """A new key and certificate in the same files. The old one stays good until it ends. Raises: PkiError."""
        with _locked(self.folder):
            last = self.newest(name)
            if last.revoked is not None:
                raise PkiError(f"{name}: was revoked on {last.revoked[:10]}; issue a new one, if it may come back")
            return self._sign(last.role, name, last.hosts, days)

    def revoke(self, name: str) -> list[Issued]:
        """Put every certificate of a name on the list for the broker. Raises: PkiError."""
        with _locked(self.folder):
            self.newest(name)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            every = [
                replace(seen, revoked=now) if seen.name == name and seen.revoked is None else seen
                for seen in self.issued()
            ]
            self._write_crl(every)  # first: a list too many harms nobody
            self._remember(every)
        return [seen for seen in every if seen.name == name and seen.revoked == now]

    def issued(self) -> list[Issued]:
        """Everything, oldest first. Raises: PkiError."""
        file = self.folder / "issued.json"
        try:
            return [Issued(**{**entry, "hosts": tuple(entry["hosts"])}) for entry in json.loads(file.read_bytes())]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PkiError(f"{file}: cannot be read ({error}); restore the folder from its copy") from error

    def valid(self, role: Role | None = None) -> list[Issued]:
        """The newest certificate of each name that is not revoked, by name."""
        newest = {seen.name: seen for seen in self.issued()}
        found = [seen for seen in newest.values() if seen.revoked is None and role in (None, seen.role)]
        return sorted(found, key=lambda seen: (seen.role, seen.name))

    def newest(self, name: str) -> Issued:
        found = [seen for seen in self.issued() if seen.name == name]
        if not found:
            known = ", ".join(seen.name for seen in self.valid()) or "none was issued"
            raise PkiError(f"{name}: has no certificate of this CA; there are: {known}")
        return found[-1]

    def _sign(self, role: Role, name: str, hosts: Sequence[str], days: int) -> Issued:
        ca, ca_key = self._ca()
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _dated(x509.CertificateBuilder(), days, ca.not_valid_after_utc)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if role == "broker" else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            builder.subject_name(
                x509.Name([
                    x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
                    x509.NameAttribute(NameOID.COMMON_NAME, name),
                ])
            )
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_others=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )  # fmt: skip
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(ca_key, hashes.SHA256())
        ends = certificate.not_valid_after_utc.isoformat()
        issued = Issued(name, role, f"{certificate.serial_number:x}", ends, tuple(hosts))
        _write(  # together: a certificate without its key opens nothing
            Content(self.folder / f"{issued.stem}.key", _pem(key), secret=True),
            Content(self.folder / f"{issued.stem}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
        )
        self._remember([*self.issued(), issued])
        return issued

    def _ca(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        try:
            certificate = x509.load_pem_x509_certificate((self.folder / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        except (OSError, ValueError) as error:
            raise PkiError(f"{self.folder}: ca.pem and ca.key cannot be read ({error}); restore them") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise PkiError(f"{self.folder}: ca.key does not belong to ca.pem; restore both from the same copy")
        return certificate, key

    def _write_crl(self, issued: Sequence[Issued]) -> None:
        """The list holds as long as the CA: a broker refuses everybody once it is out of date."""
        ca, key = self._ca()
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now - SLACK)
        builder = builder.next_update(ca.not_valid_after_utc)
        for seen in issued:
            if seen.revoked is not None:
                entry = x509.RevokedCertificateBuilder().serial_number(int(seen.serial, 16))
                builder = builder.add_revoked_certificate(
                    entry.revocation_date(datetime.fromisoformat(seen.revoked)).build()
                )
        crl = builder.sign(key, hashes.SHA256())
        _write(Content(self.folder / "crl.pem", crl.public_bytes(serialization.Encoding.PEM)))

    def _remember(self, issued: Sequence[Issued]) -> None:
        text = json.dumps([asdict(seen) for seen in issued], indent=1)
        _write(Content(self.folder / "issued.json", text.encode() + b"\n"))


def _check_name(role: Role, name: str) -> None:
    if re.fullmatch(NAMES[role], name) is None:
        raise PkiError(f"{role} {name!r}: give {SHAPES[role]} (a-z, 0-9, - and _)")
    if len(name) > LONGEST_NAME:
        raise PkiError(f"{role} {name!r}: has {len(name)} characters, a certificate holds {LONGEST_NAME}")
    if name in ("ca", "crl", "issued"):
        raise PkiError(f"{role} {name!r}: is the name of a file of the CA; give another")


def _dated(
    builder: x509.CertificateBuilder, days: int, not_beyond: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    ends = now + timedelta(days=days)
    if not_beyond is not None and not_beyond <= now:
        raise PkiError(f"the CA has ended on {not_beyond:%Y-%m-%d}; make a new one in another folder")
    ends = ends if not_beyond is None else min(ends, not_beyond)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - SLACK).not_valid_after(ends)


def _usage(sign_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_others, key_cert_sign=sign_others, crl_sign=sign_others,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise PkiError(f"--host {host!r}: is neither an address nor a name ({error})") from error


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(*contents: Content) -> None:
    """Raises: PkiError."""
    try:
        write_whole(contents)
    except OSError as error:
        raise PkiError(f"{contents[0].file}: cannot be written: {error.strerror}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two commands at the same time would lose one of two entries."""
    try:
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise PkiError(f"{folder}: cannot be written: {error.strerror}; run this as its owner") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
