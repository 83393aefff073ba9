"""Modbus RTU frames: checksum, and where a request ends.

Source: MODBUS over Serial Line 1.02, section 2.5.1 and appendix B.
"""

import asyncio
from collections.abc import Callable

from firmware_sim.wire_faults import Request

# A frame ends with 3.5 silent characters, 1.8 ms at 19200 baud. Neither a socket nor a pty keeps such times,
# so a request is known by its length, and only one of an unknown function by a silence, which is longer.
GAP_S = 0.03
LONGEST = 256
_BY_FUNCTION = dict.fromkeys(range(1, 7), 8) | {7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6, 43: 7}
_WITH_COUNT = {15: 6, 16: 6, 20: 2, 21: 2, 23: 10}  # function -> where its byte count stands


def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        entries.append(crc)
    return tuple(entries)


_CRC = _table()


def crc16(data: bytes) -> bytes:
    """The checksum as it is sent, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def pack_rtu(request: Request, pdu: bytes) -> bytes:
    """The frame of an answer: unit, PDU, checksum."""
    body = bytes((request.unit,)) + pdu
    return body + crc16(body)


def request_length(data: bytes) -> int | None:
    """Bytes of the request that `data` begins with, checksum included; None if that is not known yet."""
    if len(data) < 2:
        return None
    if (known := _BY_FUNCTION.get(data[1])) is not None:
        return known
    at = _WITH_COUNT.get(data[1])
    return at + 1 + data[at] + 2 if at is not None and len(data) > at else None


class RtuReceiver:
    """Finds requests in what comes in. What has a wrong checksum is dropped in silence, as a slave does.

    Args:
        take: Called with each request.
        gap_s: A silence that ends a frame whose length is not known, and drops one that is incomplete.
    """

    def __init__(self, take: Callable[[Request], None], gap_s: float) -> None:
        self._take = take
        self._gap_s = gap_s
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self.dropped = 0  # bytes

    def feed(self, data: bytes) -> None:
        self.cancel()
        self._buffer += data
        while (length := request_length(self._buffer)) is not None and len(self._buffer) >= length:
            if not self._whole(self._buffer[:length]):
                break
            self._buffer = self._buffer[length:]
        if self._buffer:
            self._timer = asyncio.get_running_loop().call_later(self._gap_s, self._silent)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _silent(self) -> None:
        self._timer = None
        frame, self._buffer = self._buffer, b""
        if not self._whole(frame):
            self.dropped += len(frame)

    def _whole(self, frame: bytes) -> bool:
        if not 4 <= len(frame) <= LONGEST or crc16(frame[:-2]) != frame[-2:]:
            return False
        self._take(Request(frame[0], frame[1:-2]))
        return True
