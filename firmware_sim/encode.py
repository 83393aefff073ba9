"""From plant values to what a PLC puts on the wire, by its profile.

Written apart from the driver's decoder on purpose, so that a misreading of the format cannot hide on both
sides; the tests hold golden words from makers' documents.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence

from drivers.profile import Point, Profile, Table

Value = float | int | str | None
Values = Mapping[str, Value]
FORMATS = {
    "uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "uint64": ">Q", "int64": ">q",
    "float16": ">e", "float32": ">f", "float64": ">d",
}  # fmt: skip
_LARGEST = {"float16": 65_504.0, "float32": 3.4028234663852886e38, "float64": math.inf}


def raw_of(point: Point, value: float | int) -> int | float:
    """The number that the PLC holds: scale and offset undone, rounded and saturated as a PLC does.

    Whole numbers stay integers all the way, so a 64-bit counter loses no digit.
    """
    if isinstance(value, int) and point.scale == 1.0 and point.offset == 0.0:
        raw: float | int = value
    else:
        raw = (value - point.offset) / point.scale
    if (largest := _LARGEST.get(point.type)) is not None:
        return max(-largest, min(largest, float(raw)))
    if point.type == "bool":
        return int(bool(raw))
    low, high = _whole_limits(point)
    if not math.isfinite(raw):
        return high if raw > 0 else low
    return max(low, min(high, round(raw)))


def _whole_limits(point: Point) -> tuple[int, int]:
    if point.type.startswith("bcd"):
        return 0, 10 ** (4 * point.words) - 1
    half = 1 << (16 * point.words - 1)
    return (0, 2 * half - 1) if point.type.startswith("u") else (-half, half - 1)


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
    raw = raw_of(point, value)
    if point.type.startswith("bcd"):  # a decimal digit per half byte: 1234 is 0x1234
        return _in_order(bytes.fromhex(f"{raw:0{4 * point.words}d}"), point.order)
    return _in_order(struct.pack(FORMATS[point.type], raw), point.order)


def in_order(format_: str, point: Point, number: float) -> list[int]:
    """Registers of a number as it is, neither scaled nor bounded."""
    return _in_order(struct.pack(format_, number), point.order)


def _unknown(point: Point) -> bytes:
    size = 2 * point.words
    if point.invalid:
        return (point.invalid[0] % (1 << 8 * size)).to_bytes(size, "big")
    if point.type in ("float16", "float32", "float64"):
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
        tables: tuple[Table, ...] = ("coil", "discrete", "holding", "input")
        self._points: dict[str, list[tuple[int, Point]]] = {
            table: [(p.address or 0, p) for p in profile.points if profile.table_of(p) == table]
            for table in tables
        }
        self._readable: dict[str, frozenset[int]] = {}
        for table in tables:
            gap = profile.max_gap * (16 if table in ("coil", "discrete") else 1)
            self._readable[table] = _readable(self._points[table], gap, profile.forbidden_in(table))
        self._powers = _powers(profile)

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
        if self._powers:
            values = self._powers | {name: value for name, value in values.items() if value is not None}
        for first, point in self._points[table]:
            if first >= address + count or first + point.words <= address:
                continue
            value = values.get(point.name)
            if point.scale_from is not None:
                point = _scaled(point, values.get(point.scale_from))
            encoded = encode(point, value)
            if point.bit is not None:
                words[first - address] |= encoded[0] << point.bit
                continue
            for i, word in enumerate(encoded, first - address):
                if 0 <= i < count:  # a request may cut a value in two; then it gets what it asked for
                    words[i] = word
        return words


def _powers(profile: Profile) -> dict[str, Value]:
    """What scale factors hold where the plant names none: the least power that the largest values fit."""
    powers: dict[str, Value] = {}
    for point in profile.points:
        if point.scale_from is None:
            continue
        limit = _LARGEST.get(point.type) or _whole_limits(point)[1]
        largest = max(map(abs, point.range or (1.0, 1.0))) / abs(point.scale)
        power = max(-10, min(10, math.ceil(math.log10(largest / limit))))
        powers[point.scale_from] = max(power, int(powers.get(point.scale_from, power) or 0))
    return powers


def _scaled(point: Point, power: Value) -> Point:
    """The point with a scale that holds the present power of ten."""
    exponent = int(power) if isinstance(power, int | float) else 0
    return point.model_copy(update={"scale": point.scale * 10.0**exponent})


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
