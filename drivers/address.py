"""Where a Modbus device is, and what it agreed to: all that a connection or a serial line needs to know."""

import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal
from urllib.parse import urlsplit

Transport = Literal["tcp", "tls", "rtu-over-tcp", "rtu", "ascii"]
Parity = Literal["N", "E", "O"]
TCP_PORT, TLS_PORT = 502, 802  # MODBUS Messaging on TCP/IP 1.0b; MODBUS/TCP Security, 2018
SERIAL_TRANSPORTS = ("rtu", "ascii")


_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")  # RFC 1123, section 2.1; _ as in names of machines
HOST_EXAMPLE = "give an address or a name, as in 10.20.0.7 or plc-berth-6"


def host_problem(host: str) -> str:
    """Why nothing can be found under this host, and what to write; empty if something may."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        return ""
    labels = host.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > 253:
        return f"no machine can have this name; {HOST_EXAMPLE}"
    if labels[-1].isdigit():  # no top level is a number, so an address is meant
        return f"four numbers from 0 to 255 make an address; {HOST_EXAMPLE}"
    return ""


def url_problem(url: str) -> str:
    """The same of the host and port of a URL."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"{error}; give it as in opc.tcp://10.20.0.9:4840"
    return host_problem(host)


def bracketed(host: str) -> str:
    """As a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """One unit on one connection or line. Nothing is opened by it.

    Attributes:
        transport: `tcp`, `tls`, `rtu-over-tcp` (a serial device server), `rtu` or `ascii` (a serial line).
        port: 0 means the transport's own: 502, or 802 with TLS.
        serial: A device's path, or `usb:VID:PID[:SERIALNUMBER]`, hexadecimal as lsusb prints them.
        parity: `N` goes with two stop bits, `E` and `O` with one; a pseudo terminal knows only `N`.
        max_requests_per_s: Agreed with the PLC's owner; 0 is no limit. [1/s]
        pause_s: Shortest silence between an answer and the next request. [s]
        listen_s: How long a serial line is listened to before the first request. [s]
        tls_ca: PEM file of the only authority (or the very certificate) that is trusted.
        tls_cert: PEM file of our certificate, `tls_key` of its key.
        tls_name: The name in the PLC's certificate, where that is not `host`.
    """

    host: str = ""
    port: int = 0
    unit_id: int = 1
    transport: Transport = "tcp"
    serial: str = ""
    baud: int = 19_200
    parity: Parity = "E"
    stop_bits: int = 1
    max_requests_per_s: float = 0.0
    pause_s: float = 0.0
    listen_s: float = 30.0
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_name: str = ""

    @property
    def is_serial(self) -> bool:
        """Whether it is a line that we own, and not a socket."""
        return self.transport in SERIAL_TRANSPORTS

    @property
    def has_transaction_ids(self) -> bool:
        """Whether an answer says which request it belongs to."""
        return self.transport in ("tcp", "tls")

    @property
    def tcp_port(self) -> int:
        return self.port or (TLS_PORT if self.transport == "tls" else TCP_PORT)

    @property
    def bus_key(self) -> str:
        """What has to be shared: a serial line, or a TCP port of a host. Equal for all units on it."""
        if not self.is_serial:
            return f"tcp:{self.host.lower()}:{self.tcp_port}"
        return f"serial:{self.serial.lower() if self.serial.startswith('usb:') else os.path.realpath(self.serial)}"

    @property
    def bus_endpoint(self) -> str:
        """URL of the connection or line, without a unit."""
        scheme = "modbus" if self.transport == "tcp" else f"modbus+{self.transport}"
        return f"{scheme}://{self.serial if self.is_serial else f'{self.host}:{self.tcp_port}'}"

    @property
    def endpoint(self) -> str:
        """URL of the unit, as logs and errors name it."""
        return f"{self.bus_endpoint}/{self.unit_id}"

    @property
    def character_s(self) -> float:
        """Time that a character takes on the line; 0 on a socket. [s]"""
        if not self.is_serial:
            return 0.0
        return (1 + self.data_bits + (self.parity != "N") + self.stop_bits) / self.baud

    @property
    def data_bits(self) -> int:
        """8; 7 for ASCII with parity."""
        return 7 if self.transport == "ascii" and self.parity != "N" else 8

    @property
    def silence_s(self) -> float:
        """Shortest silence between two RTU frames: 3.5 characters, 1.75 ms above 19200 baud. [s]

        Source: MODBUS over Serial Line 1.02, section 2.5.1.1.
        """
        return max(3.5 * self.character_s, 0.00175) if self.transport == "rtu" else 0.0

    @property
    def shared(self) -> "ModbusAddress":
        """What all units on a connection or line have in common."""
        return replace(self, unit_id=0, host=self.host.lower(), port=0 if self.is_serial else self.tcp_port)


def conflicts(addresses: Iterable[tuple[str, ModbusAddress]]) -> list[tuple[str, str, str]]:
    """Settings in which devices that share a connection or line differ.

    Args:
        addresses: Name of each device, and where it is.

    Returns: the later device's name, the setting's name, and what is wrong with it.
    """
    first: dict[str, tuple[str, ModbusAddress]] = {}
    units: dict[tuple[str, int], str] = {}
    problems = []
    for name, address in addresses:
        other, agreed = first.setdefault(address.bus_key, (name, address.shared))
        for field in fields(ModbusAddress):
            here, there = getattr(address.shared, field.name), getattr(agreed, field.name)
            if here != there:
                problems.append(
                    (name, field.name, f"{other} on {address.bus_key} has {there!r}; give both the same")
                )
        if address.is_serial and units.setdefault((address.bus_key, address.unit_id), name) != name:
            taken = units[address.bus_key, address.unit_id]
            problems.append((name, "unit_id", f"{taken} has it on {address.bus_key}; each unit has its own"))
    return problems
