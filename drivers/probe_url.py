"""A Modbus device named on a command line: `modbus://10.20.0.7:502/1`."""

import os
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from drivers.address import SERIAL_TRANSPORTS, ModbusAddress, host_problem
from drivers.serial_port import check_serial

SCHEMES = {
    "modbus": "tcp", "modbus+tcp": "tcp", "modbus+tls": "tls", "modbus+rtu-over-tcp": "rtu-over-tcp",
    "modbus+rtu": "rtu", "modbus+ascii": "ascii",
}  # fmt: skip
OPTIONS: dict[str, type] = {
    "unit": int, "baud": int, "parity": str, "stop_bits": int, "listen_s": float, "pause_s": float,
    "max_requests_per_s": float, "tls_ca": str, "tls_cert": str, "tls_key": str, "tls_name": str,
}  # fmt: skip
EXAMPLES = "modbus://10.20.0.7:502/1 or modbus+rtu:///dev/ttyUSB0?baud=9600&unit=3"


def parse_url(url: str) -> ModbusAddress:
    """Where the device is. Settings stand behind a question mark, under their names in a site file.

    Raises: ValueError, with what to write instead.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:  # [::1
        raise ValueError(f"{url}: {error}; as in {EXAMPLES}") from error
    transport = SCHEMES.get(parts.scheme)
    if transport is None:
        raise ValueError(f"{url}: {parts.scheme!r} is not one of {', '.join(SCHEMES)}, opc.tcp; as in {EXAMPLES}")
    given = _options(url, parts.query)
    unit = given.pop("unit", None)
    given["transport"] = transport
    if transport in SERIAL_TRANSPORTS:
        given["serial"], found = _line(f"{parts.netloc}{parts.path}", unit is None)
        if problem := check_serial(given["serial"]):
            raise ValueError(f"{url}: {given['serial']!r}: {problem}")
        if given.get("parity") == "N":
            given.setdefault("stop_bits", 2)
    else:
        given["host"], given["port"] = _socket(url, parts)
        found = parts.path.strip("/")
    if found and not found.isdigit():
        raise ValueError(f"{url}: unit {found!r} is not a number from 0 to 255; as in {EXAMPLES}")
    given["unit_id"] = int(found) if found else (1 if unit is None else unit)
    if not 0 <= given["unit_id"] <= 255:
        raise ValueError(f"{url}: unit {given['unit_id']} is not one of 0 to 255")
    return ModbusAddress(**given)


def url_of(address: ModbusAddress) -> str:
    """The URL that `parse_url` takes for this address; of a line's settings those that are not as usual."""
    if not address.is_serial:
        return address.endpoint
    usual = ModbusAddress(parity=address.parity, stop_bits=2 if address.parity == "N" else 1)
    names = ("baud", "stop_bits", "listen_s", "pause_s", "max_requests_per_s")
    given = [
        f"{name}={getattr(address, name):g}" for name in names if getattr(address, name) != getattr(usual, name)
    ]
    given += [f"parity={address.parity}"] if address.parity != ModbusAddress().parity else []
    return f"{address.bus_endpoint}?{'&'.join([*given, f'unit={address.unit_id}'])}"


def _socket(url: str, parts: Any) -> tuple[str, int]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url}: {error}; as in {EXAMPLES}") from error
    if not host:
        raise ValueError(f"{url}: names no host; as in {EXAMPLES}")
    if problem := host_problem(host):
        raise ValueError(f"{url}: host {host!r}: {problem}")
    return host, port or 0


def _line(path: str, with_unit: bool) -> tuple[str, str]:
    """A serial port, and the unit behind it where one is: `/dev/ttyUSB0/3`, but not `/dev/pts/3`."""
    head, _, last = path.rpartition("/")
    if with_unit and last.isdigit() and head.count("/") > 1 and not os.path.exists(path):
        return head, last
    return path.lstrip("/") if path.lstrip("/").startswith("usb:") else path, ""


def _options(url: str, query: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise ValueError(f"{url}: {name}: no such setting; use {', '.join(OPTIONS)}")
        try:
            given[name] = OPTIONS[name](text)
        except ValueError as error:
            raise ValueError(f"{url}: {name} = {text!r} is not a number") from error
    if given.get("parity", "E") not in ("N", "E", "O"):
        raise ValueError(f"{url}: parity = {given['parity']!r} is not one of N, E, O")
    return given
