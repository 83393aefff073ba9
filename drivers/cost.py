"""What a request costs: a fixed part, and a part for each register. The planner weighs one against the other."""

from dataclasses import dataclass
from typing import Protocol, Self

ASKED_BYTES = 8  # unit, function, address, count, CRC
ANSWER_BYTES = 5  # unit, function, number of bytes, CRC; the registers come on top
SILENT_CHARACTERS = 3.5  # before each frame; MODBUS over Serial Line 1.02, section 2.5.1.1
SHORTEST_SILENCE_S = 0.00175  # above 19200 baud; same section
ASCII_ASKED, ASCII_ANSWER = 17, 11  # characters: colon, two for each byte, LRC instead of CRC, CR, LF
TURNAROUND_S = 0.010  # assumed between question and answer of a serial device; meters take 2 to 50 ms
ROUND_TRIP_S = 0.002  # assumed of a PLC on a local network
SERIAL = ("rtu", "ascii", "rtu-over-tcp")


class Line(Protocol):
    """What a cost follows from; `drivers.address.ModbusAddress` has it."""

    @property
    def transport(self) -> str: ...
    @property
    def baud(self) -> int: ...
    @property
    def parity(self) -> str: ...
    @property
    def stop_bits(self) -> int: ...
    @property
    def pause_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """Time that the connection or line is busy.

    Attributes:
        request_s: For a request, however short. [s]
        register_s: More for each register, or for 16 coils; a byte that is not full is not rounded up. [s]
    """

    request_s: float
    register_s: float

    @classmethod
    def of(cls, line: Line, turnaround_s: float = TURNAROUND_S) -> Self:
        """Cost of a request over an address, its agreed pause included.

        On TCP a request costs a round trip and a register next to nothing. On a serial line both follow from
        the baud rate; a serial device server (`rtu-over-tcp`) has such a line behind it, and the round trip.

        Args:
            turnaround_s: What a serial device takes before it answers. [s]
        """
        if line.transport not in SERIAL:
            return cls(ROUND_TRIP_S + line.pause_s, COST_TCP.register_s)
        ascii_ = line.transport == "ascii"
        character_s = (1 + (7 if ascii_ else 8) + (line.parity != "N") + line.stop_bits) / line.baud
        silence_s = 0.0 if ascii_ else 2 * max(SILENT_CHARACTERS * character_s, SHORTEST_SILENCE_S)
        frames = ASCII_ASKED + ASCII_ANSWER if ascii_ else ASKED_BYTES + ANSWER_BYTES
        trip_s = ROUND_TRIP_S if line.transport == "rtu-over-tcp" else 0.0
        fixed_s = frames * character_s + silence_s + turnaround_s + line.pause_s + trip_s
        return cls(fixed_s, (4 if ascii_ else 2) * character_s)

    def parts_s(self, is_bits: bool = False) -> tuple[float, float]:
        """Time of a request, and of each register or bit in it."""
        return self.request_s, self.register_s / (16 if is_bits else 1)

    def block_s(self, count: int, is_bits: bool = False) -> float:
        """Time of one request for `count` registers, or bits."""
        request_s, each_s = self.parts_s(is_bits)
        return request_s + each_s * count


COST_TCP = Cost(ROUND_TRIP_S, 2e-6)  # 2 bytes at 10 Mbit/s, rounded
