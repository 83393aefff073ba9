"""TLS towards the broker: one context, errors in one sentence, and when a certificate ends.

Both ends use it: the agent, and ingest ashore. A renewed certificate is taken at the next connect.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

WARN_DAYS = 30  # before a certificate ends


class TlsError(Exception):
    """A certificate or key cannot be used. One sentence: which file, what is wrong, what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Who is trusted (`ca`), and by what this side is known, if the broker asks for it. PEM files."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, the broker's name checked. Raises: TlsError."""
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca))
        except (OSError, ssl.SSLError) as error:
            raise TlsError(f"tls_ca = {str(self.ca)!r}: {_why(error)}; give the CA's certificate (PEM)") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.refresh(context)
        return context

    def refresh(self, context: ssl.SSLContext) -> None:
        """Read certificate and key again: they may have been renewed. Raises: TlsError."""
        if self.cert is None or self.key is None:
            return
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise TlsError(
                f"tls_cert = {str(self.cert)!r}, tls_key = {str(self.key)!r}: {_why(error)};"
                " give a certificate and the key that belongs to it (PEM, key without password)"
            ) from error


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a certificate ends, and for whom it was made."""

    file: Path
    name: str  # its common name, as in calais/gw-berth-6
    ends: datetime

    def days_left(self, now: datetime) -> int:
        """Whole days, rounded down; negative once it has ended."""
        return (self.ends - now) // (datetime.resolution * 86_400_000_000)


def expiry(file: Path) -> Expiry:
    """Of the first certificate of a PEM file. Raises: TlsError."""
    from cryptography import x509  # only where TLS is used: it costs memory
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise TlsError(f"{file}: {_why(error)}; give a certificate (PEM)") from error
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Expiry(file, str(names[0].value) if names else "", certificate.not_valid_after_utc)


def expiring(files: TlsFiles, now: datetime | None = None, within_days: int = WARN_DAYS) -> list[Expiry]:
    """Certificates that end within so many days, or have ended. A file that cannot be read is left out."""
    now = now or datetime.now(UTC)
    found = []
    for file in (files.ca, files.cert):
        if file is None:
            continue
        try:
            seen = expiry(file)
        except TlsError:
            continue  # connecting says so
        if seen.days_left(now) < within_days:
            found.append(seen)
    return found


def _no_password() -> str:
    """OpenSSL would else ask on the terminal, and a service has none."""
    raise ValueError("the key is locked by a password")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
