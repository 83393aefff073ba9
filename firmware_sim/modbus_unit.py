"""A Modbus device behind a unit id: request PDU in, response PDU out, whatever carries them."""

import struct
from collections import Counter
from collections.abc import Callable, Iterable

from drivers.profile import Profile
from firmware_sim import name_plate
from firmware_sim.encode import RegisterImage, Values
from firmware_sim.value_faults import ValueFaults

TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_SUCH_UNIT = 1, 2, 3, 11


class ModbusUnit:
    """One device: its profile and where its values come from.

    `source` is asked once per request, so all registers of one answer belong to one instant.
    """

    def __init__(self, profile: Profile, source: Callable[[], Values], faults: ValueFaults | None = None) -> None:
        self.profile = profile
        self._image = RegisterImage(profile)
        self._plate = name_plate.objects_of(profile)
        self._source = source
        self._faults = faults
        self._max_registers = profile.max_registers
        self.requests: Counter[int] = Counter()  # by function code

    def answer(self, pdu: bytes) -> bytes:
        """The response PDU to a request PDU, or an exception reply.

        Source: MODBUS Application Protocol 1.1b3, sections 6.1-6.4, 6.21 and 7.
        """
        function = pdu[0]
        self.requests[function] += 1
        if function == name_plate.FUNCTION:
            plate = name_plate.name_plate(self._plate, pdu)
            return plate if isinstance(plate, bytes) else refusal(function, plate)
        table = TABLES.get(function)
        if table is None:  # a write too: this is a revenue meter, not a blackboard
            return refusal(function, ILLEGAL_FUNCTION)
        if len(pdu) != 5:
            return refusal(function, ILLEGAL_VALUE)
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= (self._max_registers if function > 2 else 2000):
            return refusal(function, ILLEGAL_VALUE)
        if not self._image.covers(table, address, count):
            return refusal(function, ILLEGAL_ADDRESS)
        if self._faults is None or self._faults.none:
            words = self._image.read(table, address, count, self._source())
        else:
            values, encode = self._faults.now(self._source())
            words = self._image.read(table, address, count, values, encode)
        return data_answer(function, words)


def data_answer(function: int, words: Iterable[int]) -> bytes:
    """The PDU that carries registers (functions 3 and 4) or bits (1 and 2)."""
    items = list(words)
    if function > 2:
        return struct.pack(f">BB{len(items)}H", function, 2 * len(items), *items)
    size = (len(items) + 7) // 8
    bits = sum(bit << i for i, bit in enumerate(items))
    return bytes((function, size)) + bits.to_bytes(size, "little")


def refusal(function: int, code: int) -> bytes:
    """The PDU of an exception reply."""
    return bytes((function & 0x7F | 0x80, code))
