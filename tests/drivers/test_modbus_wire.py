"""What carries Modbus besides plain TCP: TLS with certificates on both sides, and ASCII."""

import asyncio
import datetime
import ipaddress
import os
import pty
import ssl
import struct
import tty
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers.address import ModbusAddress
from drivers.bus import Buses
from drivers.errors import DeviceUnreachable
from drivers.modbus_pdu import read_pdu
from drivers.serial_port import check_serial, find_port

RIGHT = struct.pack(">BBHH", 3, 4, 0x4005, 0x4006)


def certificate(folder: Path, name: str, signer: str = "") -> None:
    """Write NAME.crt and NAME.key; signed by another's key, or by its own as an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key, issuer = key, subject
    if signer:
        issuer_key = serialization.load_pem_private_key((folder / f"{signer}.key").read_bytes(), None)
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signer)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=not signer, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )  # fmt: skip
    (folder / f"{name}.crt").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@pytest.fixture
async def secure(plc, tmp_path: Path) -> AsyncIterator[ModbusAddress]:
    """A PLC behind TLS that asks for a certificate, and the address that satisfies it."""
    for name, signer in (("port", ""), ("plc", "port"), ("gateway", "port"), ("stranger", "")):
        certificate(tmp_path, name, signer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "plc.crt", tmp_path / "plc.key")
    context.load_verify_locations(tmp_path / "port.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(plc.serve, "127.0.0.1", 0, ssl=context)
    yield ModbusAddress(
        "127.0.0.1", server.sockets[0].getsockname()[1], transport="tls", tls_ca=str(tmp_path / "port.crt"),
        tls_cert=str(tmp_path / "gateway.crt"), tls_key=str(tmp_path / "gateway.key"),
    )  # fmt: skip
    server.close()


async def ask(address: ModbusAddress) -> bytes:
    bus = Buses().bus(address)
    await bus.attach(5.0)
    try:
        return await bus.ask(1, read_pdu(3, 5, 2), 5.0)
    finally:
        bus.detach()


def changed(address: ModbusAddress, **fields: object) -> ModbusAddress:

    return replace(address, **fields)


async def test_tls_with_certificates_on_both_sides(secure: ModbusAddress) -> None:
    assert await ask(secure) == RIGHT


async def test_the_plcs_own_certificate_may_be_what_is_trusted(secure: ModbusAddress, tmp_path: Path) -> None:
    assert await ask(changed(secure, tls_ca=str(tmp_path / "plc.crt"))) == RIGHT


async def test_a_stranger_is_not_trusted(secure: ModbusAddress, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnreachable, match=r"certificate is not trusted: .*; compare tls_ca and tls_name"):
        await ask(changed(secure, tls_ca=str(tmp_path / "stranger.crt")))


async def test_a_file_that_is_missing_is_named(secure: ModbusAddress) -> None:
    with pytest.raises(DeviceUnreachable, match=r"tls_key = '/none\.key': there is no such file"):
        await ask(changed(secure, tls_key="/none.key"))
    with pytest.raises(DeviceUnreachable, match="tls_ca is not given"):
        await ask(changed(secure, tls_ca="", tls_cert="", tls_key=""))


async def test_another_name_than_the_certificates_is_not_trusted(secure: ModbusAddress) -> None:
    with pytest.raises(DeviceUnreachable, match=r"certificate is not trusted: .*plc-7"):
        await ask(changed(secure, tls_name="plc-7"))


async def test_a_plc_that_wants_a_certificate_gets_one_or_nothing_is_read(secure: ModbusAddress) -> None:
    with pytest.raises(DeviceUnreachable):
        await ask(changed(secure, tls_cert="", tls_key=""))


async def test_a_locked_key_is_refused_and_nobody_is_asked_for_its_password(
    secure: ModbusAddress, tmp_path: Path
) -> None:
    key = serialization.load_pem_private_key((tmp_path / "gateway.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    pkcs8 = serialization.PrivateFormat.PKCS8
    (tmp_path / "locked.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, locked))
    with pytest.raises(DeviceUnreachable, match=r"tls_cert = .* key without password"):
        await ask(changed(secure, tls_key=str(tmp_path / "locked.key")))


@pytest.mark.parametrize("host", ["10.20..7", 70 * "a" + ".local"])
async def test_a_mistyped_host_is_a_device_that_is_not_there(host: str) -> None:
    with pytest.raises(DeviceUnreachable, match="is no name and no address"):
        await ask(ModbusAddress(host, 502))


def test_each_transport_has_its_port_and_its_url() -> None:
    assert ModbusAddress("plc").endpoint == "modbus://plc:502/1"
    assert ModbusAddress("plc", transport="tls", unit_id=3).endpoint == "modbus+tls://plc:802/3"
    assert ModbusAddress("Plc", 4001, transport="rtu-over-tcp").bus_key == "tcp:plc:4001"
    line = ModbusAddress(transport="rtu", serial="/dev/ttyUSB0", baud=9600)
    assert line.endpoint == "modbus+rtu:///dev/ttyUSB0/1" and line.bus_key == "serial:/dev/ttyUSB0"
    assert line.character_s == 11 / 9600
    assert ModbusAddress(transport="ascii", serial="usb:0403:6001").character_s == 10 / 19_200


@pytest.mark.parametrize("name", ["ttyUSB0", "usb:403:6001", "usb:0403", "usb:0403:60zz", "usb:0403:6001:"])
def test_a_serial_port_is_a_path_or_a_usb_identity(name: str) -> None:
    assert check_serial(name).startswith("give ")
    assert check_serial("/dev/ttyS0") == check_serial("usb:0403:6001") == check_serial("usb:0403:6001:A9") == ""


async def test_ascii_on_a_line() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    asked = bytearray()

    def answer() -> None:
        asked.extend(os.read(ours, 100))
        if asked.endswith(b"\r\n"):
            body = bytes([1]) + RIGHT
            checked = body + bytes([-sum(body) & 0xFF])
            os.write(ours, b"noise:0103:" + checked.hex().upper().encode() + b"\r\n")

    asyncio.get_running_loop().add_reader(ours, answer)
    try:
        line = ModbusAddress(transport="ascii", serial=os.ttyname(theirs), parity="N", stop_bits=2, listen_s=0.0)
        assert await ask(line) == RIGHT
        assert bytes(asked) == b":010300050002F5\r\n"
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
        os.close(theirs)


class Adapter:
    def __init__(self, device: str, vid: int | None, pid: int | None, serial_number: str | None) -> None:
        self.device, self.vid, self.pid, self.serial_number = device, vid, pid, serial_number


def test_an_adapter_is_found_by_its_usb_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged = [
        Adapter("/dev/ttyS0", None, None, None),
        Adapter("/dev/ttyUSB0", 0x0403, 0x6001, "A1"),
        Adapter("/dev/ttyUSB1", 0x0403, 0x6001, "B2"),
        Adapter("/dev/ttyACM0", 0x1A86, 0x55D3, None),
    ]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: plugged)
    assert find_port("usb:0403:6001:B2") == "/dev/ttyUSB1"
    assert find_port("usb:1A86:55d3") == "/dev/ttyACM0"
    with pytest.raises(OSError, match=r"usb:0403:6001 is there more than once; add the serial number; .*:A1 "):
        find_port("usb:0403:6001")
    with pytest.raises(OSError, match=r"usb:0403:6001:C3 is not plugged in; plugged in: usb:0403:6001:A1 "):
        find_port("usb:0403:6001:C3")
