"""From plant values to what a PLC puts on the wire, by its profile.

Written apart from the driver's decoder on purpose, so that a misreading of the format cannot hide on both
sides; the tests hold golden words from makers' documents.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence

from drivers.profile import Point, Profile

Value = float | int | str | None
Values = Mapping[str, Value]
FORMATS = {
    "uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "uint64": ">Q", "int64": ">q",
    "float32": ">f", "float64": ">d",
}  # fmt: skip
_FLOAT32_MAX = 3.4028234663852886e38


def raw_of(point: Point, value: float | int) -> int | float:
    """The number that the PLC holds: scale and offset undone, rounded and saturated as a PLC does.

    Whole numbers stay integers all the way, so a 64-bit counter loses no digit.
    """
    if isinstance(value, int) and point.scale == 1.0 and point.offset == 0.0:
        raw: float | int = value
    else:
        raw = (value - point.offset) / point.scale
    if point.type == "float64":
        return float(raw)
    if point.type == "float32":
        return max(-_FLOAT32_MAX, min(_FLOAT32_MAX, float(raw)))
    if point.type == "bool":
        return int(bool(raw))
    bits = int(point.type.removeprefix("u").removeprefix("int"))
    half = 1 << (bits - 1)
    low, high = (0, 2 * half - 1) if point.type.startswith("u") else (-half, half - 1)
    if not math.isfinite(raw):
        return high if raw > 0 else low
    return max(low, min(high, round(raw)))


def words_of(point: Point, value: Value) -> list[int]:
    """Registers of one value, in the order they have on the wire.

    None and NaN become the profile's sentinel, else NaN for a float, else 0: a PLC has no other way to say
    "unknown". Text is cut to the point's length and filled up with NUL.
    """
    if point.type == "string":
        data = str(value or "").encode("ascii", "replace")[: 2 * point.length].ljust(2 * point.length, b"\0")
        return _in_order(data, point.order if point.order == "badc" else "abcd")
    if value is None or isinstance(value, str) or math.isnan(value):
        return _in_order(_unknown(point), point.order)
    if point.type == "bool":
        return [int(raw_of(point, value))]
    return _in_order(struct.pack(FORMATS[point.type], raw_of(point, value)), point.order)


def in_order(format_: str, point: Point, number: float) -> list[int]:
    """Registers of a number as it is, neither scaled nor bounded."""
    return _in_order(struct.pack(format_, number), point.order)


def _unknown(point: Point) -> bytes:
    size = 2 * point.words
    if point.invalid is not None:
        return (point.invalid % (1 << 8 * size)).to_bytes(size, "big")
    if point.type in ("float32", "float64"):
        return struct.pack(FORMATS[point.type], math.nan)
    return bytes(size)


def _in_order(data: bytes, order: str) -> list[int]:
    """Most significant byte first in `data`; cdab swaps the words, badc the bytes, dcba both."""
    words = struct.unpack(f"{'<' if order in ('badc', 'dcba') else '>'}{len(data) // 2}H", data)
    return list(reversed(words)) if order in ("cdab", "dcba") else list(words)


class RegisterImage:
    """All registers and bits of a device at one instant.

    What lies between points counts as readable (0) up to the profile's `max_gap`, since a driver may bridge
    it; everything else, and what is `forbidden`, is refused as an illegal address.
    """

    def __init__(self, profile: Profile) -> None:
        self._points: dict[str, list[tuple[int, Point]]] = {
            table: [(p.address or 0, p) for p in profile.points if profile.table_of(p) == table]
            for table in ("coil", "discrete", "holding", "input")
        }
        self._readable = {
            table: _readable(points, profile.max_gap, profile.forbidden) for table, points in self._points.items()
        }

    def covers(self, table: str, address: int, count: int) -> bool:
        """Whether a request for these registers or bits is one that the device answers."""
        return self._readable[table].issuperset(range(address, address + count))

    def read(
        self,
        table: str,
        address: int,
        count: int,
        values: Values,
        encode: Callable[[Point, Value], list[int]] = words_of,
    ) -> list[int]:
        """Words (or bits) from `address` on. `encode` is another one where a fault is on. [count numbers]"""
        words = [0] * count
        for first, point in self._points[table]:
            if first >= address + count or first + point.words <= address:
                continue
            encoded = encode(point, values.get(point.name))
            if point.bit is not None:
                words[first - address] |= encoded[0] << point.bit
                continue
            for i, word in enumerate(encoded, first - address):
                if 0 <= i < count:  # a request may cut a value in two; then it gets what it asked for
                    words[i] = word
        return words


def _readable(
    points: Sequence[tuple[int, Point]], max_gap: int, forbidden: Sequence[tuple[int, int]]
) -> frozenset[int]:
    covered: set[int] = set()
    end: int | None = None
    for first, point in sorted(points, key=lambda item: item[0]):
        start = end if end is not None and first - end <= max_gap else first
        end = first + point.words
        covered.update(range(start, end))
    for low, high in forbidden:
        covered.difference_update(range(low, high + 1))
    return frozenset(covered)
