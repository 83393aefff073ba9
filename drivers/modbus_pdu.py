"""Requests that read, the length of their answers, and how a person names them and their refusals."""

import struct

TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
EXCEPTIONS = {
    1: "it has no such table; compare the profile's table with the device",
    2: "it has no such registers; compare the profile with the device, or lower max_gap",
    3: "it takes no such request; lower the profile's max_registers",
    4: "it has a fault of its own",
    5: "it needs longer than a request",
    6: "it is busy",
    10: "the gateway has no path to the unit",
    11: "the unit behind the gateway does not answer",
}


def read_pdu(function: int, address: int, count: int) -> bytes:
    """The request for registers (functions 3 and 4) or bits (1 and 2)."""
    return struct.pack(">BHH", function, address, count)


def answer_bytes(pdu: bytes) -> int:
    """Length of the PDU that answers a read; 0 where the request does not tell."""
    if pdu[0] not in TABLES or len(pdu) != 5:
        return 0
    count = int.from_bytes(pdu[3:5], "big")
    return 2 + (2 * count if pdu[0] > 2 else (count + 7) // 8)


def describe(pdu: bytes) -> str:
    """A request as a person names it, as in `holding 10-13`."""
    if pdu[0] not in TABLES or len(pdu) != 5:
        return f"function {pdu[0]}"
    address, count = struct.unpack(">HH", pdu[1:])
    return f"{TABLES[pdu[0]]} {address}-{address + count - 1}"


def probes(pdu: bytes, most: int) -> list[bytes]:
    """Small requests at the place of a request, each with another length of answer."""
    if pdu[0] not in TABLES or len(pdu) != 5:
        return [read_pdu(3, 0, count) for count in range(1, most + 1)]
    address = min(int.from_bytes(pdu[1:3], "big"), 65_536 - 8 * most)
    step = 1 if pdu[0] > 2 else 8
    return [read_pdu(pdu[0], address, 1 if n == 0 else (n + 1) * step) for n in range(most)]
