"""A Modbus TCP device's name plate: function 43/14, on a connection of its own, which is closed after it.

The drivers read registers only. What is sent here passes the same guard as theirs.
Source: MODBUS Application Protocol 1.1b3, section 6.21.
"""

import socket
from dataclasses import dataclass

from drivers.readonly import ENCAPSULATED, READ_IDENTIFICATION, check_modbus

_MOST_PARTS = 8  # of a plate that comes in pieces
_MBAP = 6  # bytes before the unit id: transaction, protocol, length


class PlateError(ValueError):
    """The device does not show its plate, or not as the standard says."""


class PlateRefusedError(PlateError):
    """The device does not offer it, which it need not: `code` is its exception, 0 if it said nothing."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}" if code else "no answer")
        self.code = code


@dataclass(frozen=True)
class Plate:
    """The three basic objects."""

    vendor: str
    product: str
    revision: str


def read_plate(host: str, port: int, unit_id: int, timeout_s: float) -> Plate:
    """Ask for the basic objects. Raises: PlateError; OSError, if the connection does not come about."""
    found: dict[int, str] = {}
    with socket.create_connection((host, port), timeout=timeout_s) as link:
        first = 0
        for part in range(_MOST_PARTS):
            pdu = bytes((ENCAPSULATED, READ_IDENTIFICATION, 1, first))
            check_modbus(pdu)
            more, first = _objects(_ask(link, part + 1, unit_id, pdu), found)
            if not more:
                break
    missing = [
        name for n, name in enumerate(("VendorName", "ProductCode", "MajorMinorRevision")) if n not in found
    ]
    if missing:
        raise PlateError(f"has no {', '.join(missing)}")
    return Plate(found[0], found[1], found[2])


def _ask(link: socket.socket, transaction: int, unit_id: int, pdu: bytes) -> bytes:
    """The response PDU. Raises: PlateError."""
    link.sendall(
        transaction.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit_id,)) + pdu
    )
    try:
        head = _exactly(link, _MBAP)
        body = _exactly(link, int.from_bytes(head[4:6], "big"))
    except (TimeoutError, ConnectionError):
        raise PlateRefusedError(0) from None  # some devices say nothing to a function that they do not have
    if head[:2] != transaction.to_bytes(2, "big") or len(body) < 3:
        raise PlateError(f"was answered with {(head + body).hex(' ')}")
    if body[1] == ENCAPSULATED | 0x80:
        raise PlateRefusedError(body[2])
    return body[1:]


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = link.recv(size - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data


def _objects(pdu: bytes, found: dict[int, str]) -> tuple[bool, int]:
    """Take the objects of an answer. Returns: whether more follow, and from which on. Raises: PlateError."""
    try:
        function, kind, _, _, more, following, count = pdu[:7]
        at = 7
        for _ in range(count):
            number, size = pdu[at], pdu[at + 1]
            text = pdu[at + 2 : at + 2 + size]
            if len(text) != size:
                raise IndexError
            found[number] = text.decode("ascii", "replace").strip("\0 ")
            at += 2 + size
        if (function, kind) != (ENCAPSULATED, READ_IDENTIFICATION) or at != len(pdu):
            raise IndexError
    except (IndexError, ValueError):
        raise PlateError(f"was answered with {pdu.hex(' ')}") from None
    return more != 0, following
