"""A key and a certificate for the simulated OPC UA servers, made anew in each process."""

import functools
import socket
from ipaddress import ip_address

from asyncua.crypto.cert_gen import (
    dump_private_key_as_pem,
    generate_private_key,
    generate_self_signed_app_certificate,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

APPLICATION_URI = "urn:bollard:sim:server"


@functools.cache
def server_identity() -> tuple[bytes, bytes]:
    """Private key and certificate as PEM. They protect nothing: any client is let in."""
    key = generate_private_key()
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(APPLICATION_URI),
        x509.DNSName("localhost"),
        x509.DNSName(socket.gethostname()),
        x509.IPAddress(ip_address("127.0.0.1")),
    ]
    certificate = generate_self_signed_app_certificate(
        key, "bollard simulator", {}, names, [ExtendedKeyUsageOID.SERVER_AUTH], days=365
    )
    return dump_private_key_as_pem(key), certificate.public_bytes(Encoding.PEM)
