"""What surrounds a Modbus PDU on the wire, and which bytes answer which request. No I/O.

pymodbus's framers are used for ASCII only. For TCP and RTU they take transaction id 0 for an answer, keep a
stream out of step after garbage, and parse an RTU answer again for each piece that arrives (4.8 ms of CPU for
125 registers at 19200 baud). Knowing the request makes it simpler: its answer has one unit, function and form.
"""

import struct
from typing import Protocol

from pymodbus.framer.ascii import FramerAscii
from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu import DecodePDU

from drivers.address import ModbusAddress
from drivers.readonly import ENCAPSULATED

_HEADER = struct.Struct(">HHHB")  # transaction, protocol (0), bytes that follow, unit
LONGEST_PDU = 253  # MODBUS Application Protocol 1.1b3, section 4.1
READS = (1, 2, 3, 4)
_ODD = 3  # an answer with registers never says 3 bytes; a request of 8 bytes would have to


class NoModbus(ValueError):
    """Bytes came that are no frame: what follows cannot be told from what went before."""


class WrongTransaction(ValueError):
    """The answer carries transaction id 0, so it may be the answer to anything."""


class Framing(Protocol):
    """One direction each: `frame` makes what is sent, `feed` finds its answer in what comes.

    Attributes:
        half: Whether bytes of an unfinished frame have come.
        strays: Bytes that came and answer nothing; the reader empties it.
    """

    half: bool
    strays: bytearray

    def frame(self, unit_id: int, pdu: bytes) -> bytes:
        """The request's frame; from now on `feed` looks for its answer."""
        ...

    def feed(self, data: bytes) -> bytes | None:
        """The PDU of the answer, or None if it has not come yet. Raises: NoModbus, WrongTransaction."""
        ...


def framing(address: ModbusAddress) -> Framing:
    if address.has_transaction_ids:
        return TcpFraming()
    return AsciiFraming() if address.transport == "ascii" else RtuFraming()


class TcpFraming:
    """Modbus TCP: answers are known by transaction id and unit; others are skipped as late or doubled ones."""

    def __init__(self) -> None:
        self.half = False
        self.strays = bytearray()
        self._buffer = b""
        self._transaction = 0
        self._unit_id = 0

    def frame(self, unit_id: int, pdu: bytes) -> bytes:
        self._transaction = self._transaction % 65_535 + 1  # 1..65535: 0 is what broken gateways send
        self._unit_id = unit_id
        return _HEADER.pack(self._transaction, 0, len(pdu) + 1, unit_id) + pdu

    def feed(self, data: bytes) -> bytes | None:
        buffer = self._buffer + data if self._buffer else data
        answer = None
        while len(buffer) >= _HEADER.size:
            transaction, protocol, length, unit_id = _HEADER.unpack_from(buffer)
            if protocol != 0 or not 2 <= length <= LONGEST_PDU + 1:
                raise NoModbus(f"{buffer[:8].hex(' ')} is no Modbus TCP header")
            if len(buffer) < 6 + length:
                break
            pdu, buffer = buffer[_HEADER.size : 6 + length], buffer[6 + length :]
            if unit_id == self._unit_id and answer is None:
                if transaction == self._transaction:
                    answer = pdu
                elif transaction == 0:
                    self._buffer = buffer
                    raise WrongTransaction(f"transaction id 0, not {self._transaction}")
        self._buffer = buffer
        self.half = bool(buffer)
        return answer


class RtuFraming:
    """RTU: an answer is a checksummed frame of the unit asked. It does not say which request it answers."""

    def __init__(self) -> None:
        self.half = False
        self.strays = bytearray()
        self._buffer = b""
        self._unit_id = -1

    def frame(self, unit_id: int, pdu: bytes) -> bytes:
        self._keep_strays(self._buffer)
        self._buffer, self.half = b"", False
        self._unit_id = unit_id
        body = bytes((unit_id,)) + pdu
        return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")

    def feed(self, data: bytes) -> bytes | None:
        self._buffer += data
        found = self._find(self._buffer)
        if found is None:
            self.half = bool(self._buffer)
            if len(self._buffer) > 4 * LONGEST_PDU:
                self._keep_strays(self._buffer[:LONGEST_PDU])
                self._buffer = self._buffer[LONGEST_PDU:]
            return None
        start, end = found
        pdu = self._buffer[start + 1 : end - 2]
        self._keep_strays(self._buffer[:start])
        self._keep_strays(self._buffer[end:])
        self._buffer, self.half = b"", False
        return pdu

    def _find(self, data: bytes) -> tuple[int, int] | None:
        """Where the first whole frame of the unit is."""
        start = data.find(self._unit_id) if self._unit_id >= 0 else -1
        while start >= 0:
            length = answer_length(data, start)
            if length is not None and start + length <= len(data) and is_whole(data[start : start + length]):
                return start, start + length
            start = data.find(self._unit_id, start + 1)
        return None

    def _keep_strays(self, data: bytes) -> None:
        self.strays += data
        del self.strays[: -4 * LONGEST_PDU]


def answer_length(data: bytes, start: int) -> int | None:
    """Bytes of the answer frame that begins at `start`, checksum included; None if it does not say so (yet)."""
    if len(data) < start + 3:
        return None
    function = data[start + 1]
    if function & 0x80:
        return 5
    if function == ENCAPSULATED:
        return _plate_length(data, start)
    return 5 + data[start + 2] if function in READS else None


def _plate_length(data: bytes, start: int) -> int | None:
    """Of a name plate: six bytes, the number of its texts, then each with its number and length, checksum."""
    at = start + 8
    for _ in range(data[at - 1] if len(data) >= at else 0):
        if len(data) < at + 2:
            return None
        at += 2 + data[at + 1]
    return at + 2 - start if len(data) >= start + 8 else None


def is_whole(frame: bytes) -> bool:
    """Whether the checksum is right."""
    return FramerRTU.compute_CRC(frame[:-2]).to_bytes(2, "big") == frame[-2:]


def foreign_requests(data: bytes) -> list[int]:
    """Units that another master asks, in the order of its requests: reads of registers of 8 bytes."""
    units, start = [], 0
    while start + 8 <= len(data):
        frame = data[start : start + 8]
        if frame[1] in (3, 4) and frame[2] != _ODD and is_whole(frame):
            units.append(frame[0])
            start += 8
        else:
            start += 1
    return units


class AsciiFraming:
    """ASCII on a serial line, by pymodbus's framer."""

    def __init__(self) -> None:
        self.half = False
        self.strays = bytearray()
        self._buffer = b""
        self._unit_id = -1
        self._framer = FramerAscii(DecodePDU(False))

    def frame(self, unit_id: int, pdu: bytes) -> bytes:
        self.strays += self._buffer
        self._buffer, self.half = b"", False
        self._unit_id = unit_id
        return self._framer.encode(pdu, unit_id, 0)

    def feed(self, data: bytes) -> bytes | None:
        self._buffer += data
        while (end := self._buffer.find(self._framer.END)) >= 0:
            end += len(self._framer.END)
            frame, self._buffer = self._buffer[:end], self._buffer[end:]
            start = max(0, frame.rfind(self._framer.START))  # what stands before is noise, or a torn frame
            try:
                _, unit_id, _, pdu = self._framer.decode(frame[start:])
            except ValueError:  # a unit id that is not hexadecimal
                continue
            if pdu and unit_id == self._unit_id:
                self.strays += self._buffer
                self._buffer, self.half = b"", False
                return pdu
        self._buffer = self._buffer[-4 * LONGEST_PDU :]
        self.half = bool(self._buffer)
        return None
