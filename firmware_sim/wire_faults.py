"""Faults of Modbus frames: what is sent for a request, when, and how a connection ends. No I/O."""

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from firmware_sim.faults import Fault, FaultBoard, FaultView
from firmware_sim.modbus_unit import TABLES, refusal
from firmware_sim.plant.noise import uniform

_MOST_WORDS = 127  # what the byte count of an answer can still say


@dataclass(frozen=True)
class Request:
    """A request as it came, without its framing."""

    unit: int
    pdu: bytes
    transaction: int = 0  # Modbus TCP only


Pack = Callable[[Request, bytes], bytes]  # (as if this was asked, PDU) -> frame


@dataclass(frozen=True)
class Play:
    """What happens on the wire for one request. Real seconds."""

    data: bytes = b""
    delay_s: float = 0.0
    pause_s: float = 0.0  # between two bytes; 0: in one piece
    held: bool = False  # kept until the next request comes
    end: Literal["", "close", "reset"] = ""


@dataclass
class WireFaults:
    """The transport faults of one device.

    Args:
        elapsed_ns: The present, simulated, since the start. [ns]
        seed: `rate` and garbage are drawn from it and from the number of the request.
    """

    board: FaultBoard
    device: str
    elapsed_ns: Callable[[], int]
    seed: int = 0
    _requests: int = 0
    _busy: Fault | None = None  # the one that _refused counts for
    _refused: int = 0

    @property
    def none(self) -> bool:
        return self.board.untouched(self.device)

    def play(self, request: Request, answer: Callable[[bytes], bytes], pack: Pack) -> Play:
        """What is sent for a request. `answer` is what the device would say without faults."""
        self._requests += 1
        view = self.board.at(self.device, self.elapsed_ns())
        right = answer(request.pdu)  # asked in any case, so that the request is counted
        if self._hit(view, "silence"):
            return Play()
        if self._hit(view, "reset-connections"):
            return Play(end="reset")
        pdu = self._pdu(view, request, right)
        frame = pack(self._head(view, request), pdu)
        return self._sent(view, frame)

    def _hit(self, view: FaultView, name: str) -> Fault | None:
        fault = view.get(name)
        if fault is None:
            return None
        drawn = uniform(self.seed, zlib.crc32(name.encode()), self._requests)
        return fault if drawn < fault.number("rate") else None

    def _pdu(self, view: FaultView, request: Request, right: bytes) -> bytes:
        function = request.pdu[0]
        busy = view.get("busy-then-fine")
        if busy is not self._busy:
            self._busy, self._refused = busy, 0
        if busy is not None and self._refused < busy.number("times"):
            self._refused += 1
            return refusal(function, int(busy.number("code")))
        refused = self._hit(view, "exception")
        if refused is not None and _touches(request.pdu, refused):
            return refusal(function, int(refused.number("code")))
        if right[0] & 0x80 or function not in TABLES:  # a name plate holds no registers
            return right
        data = right[2:]
        if fault := self._hit(view, "short-answer"):
            data = data[: max(0, len(data) - 2 * int(fault.number("words")))]
        if fault := self._hit(view, "long-answer"):
            more = self._random(2 * int(fault.number("words")))
            data = (data + more)[: 2 * _MOST_WORDS]
        if fault := self._hit(view, "wrong-function"):
            function = int(fault.number("function")) or {3: 4, 4: 3, 1: 2, 2: 1}[function]
        return bytes((function, len(data))) + data

    def _head(self, view: FaultView, request: Request) -> Request:
        unit, transaction = request.unit, request.transaction
        if fault := self._hit(view, "wrong-unit"):
            unit = (unit + int(fault.number("by"))) % 256
        if fault := self._hit(view, "wrong-transaction"):
            transaction = (transaction + int(fault.number("by"))) % 65_536
        return Request(unit, request.pdu, transaction)

    def _sent(self, view: FaultView, frame: bytes) -> Play:
        end: Literal["", "close"] = ""
        if self._hit(view, "doubled-answer"):
            frame = 2 * frame
        if fault := self._hit(view, "half-frame"):
            frame = frame[: len(frame) // 2]
            end = "close" if fault.number("close") else ""
        if fault := self._hit(view, "garbage"):
            noise = self._random(int(fault.number("size")))
            frame = noise + frame if fault.number("then") else noise
        slow, late = self._hit(view, "slow-bytes"), self._hit(view, "late-answer")
        delay_s = late.number("delay_s") if late else 0.0
        return Play(
            frame, delay_s, slow.number("pause_s") if slow else 0.0, held=late is not None and not delay_s, end=end
        )

    def _random(self, size: int) -> bytes:
        return random.Random(self.seed << 32 | self._requests).randbytes(size)


def _touches(pdu: bytes, fault: Fault) -> bool:
    """Whether a request asks for a register of the fault's range."""
    if len(pdu) < 5:
        return False
    address, count = struct.unpack(">HH", pdu[1:5])
    return bool(address <= fault.number("last") and address + count > fault.number("first"))
