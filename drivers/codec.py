"""From bytes to rows: compiled once per plan into a few NumPy operations, whatever the number of points."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from drivers.plan import Block, Plan
from drivers.profile import EXACT_INTEGER, Point, Profile
from drivers.row import Quality, Row, empty_row

WORD = np.dtype("<u2")  # the least significant word and byte come first, on any machine
WIRE_WORD = np.dtype(">u2")
VIEWS = {
    "uint64": "<u8", "int64": "<i8", "bcd64": "<u8", "float64": "<f8",
    "uint32": "<u4", "int32": "<i4", "bcd32": "<u4", "float32": "<f4",
    "uint16": "<u2", "int16": "<i2", "bcd16": "<u2", "float16": "<f2", "bool": "<u2",
}  # fmt: skip # widest first, so that each view is aligned
SWAPPED = ("badc", "dcba")  # orders in which the bytes of each word are swapped
LARGEST = np.finfo(np.float64).max  # as a limit it lets every finite number pass
FIRST_UNUSABLE = Quality.STALE  # a value of this quality or a higher one is NaN
LARGEST_POWER = 10  # of a scale factor: SunSpec Device Information Model Specification, sunssf
POWERS_OF_TEN = 10.0 ** np.array([*range(LARGEST_POWER + 1), *[0] * LARGEST_POWER])  # 1 for -10 to -1


class Scaling:
    """`value = raw * scale + offset`, and the profile's range, for many points at once."""

    def __init__(self, points: Sequence[Point]) -> None:
        ratios = [_ratio(point.scale) for point in points]
        self._times = np.array([times for times, _ in ratios], np.float64)
        self._over = np.array([over for _, over in ratios], np.float64)
        self._offset = np.array([point.offset for point in points], np.float64)
        ranges = [point.range or (-LARGEST, LARGEST) for point in points]
        self._low = np.array([low for low, _ in ranges], np.float64)
        self._high = np.array([high for _, high in ranges], np.float64)

    def finish(
        self, values: NDArray[np.float64], quality: NDArray[np.uint8], powers: NDArray[np.int16] | None = None
    ) -> None:
        """Turn raw numbers into values, in place: unknown becomes NaN, with its reason.

        Args:
            values: Raw numbers, NaN where the device said so. float64[n]
            quality: What is known already; it is kept where it makes a value unusable. uint8[n]
            powers: Powers of ten to multiply by as well, -10..10. int16[n]
        """
        with np.errstate(all="ignore"):
            if powers is None:
                values *= self._times
                values /= self._over
            else:  # divided, as the decimal that the device means: 231 and -1 are 23.1
                values *= self._times * POWERS_OF_TEN[powers]
                values /= self._over * POWERS_OF_TEN[-powers]
            values += self._offset
            within = (values >= self._low) & (values <= self._high)  # NaN is not
        if within.all() and not quality.any():
            return
        usable = quality < FIRST_UNUSABLE
        quality[usable & ~within] = Quality.OUT_OF_RANGE
        quality[usable & np.isnan(values)] = Quality.UNKNOWN
        values[quality >= FIRST_UNUSABLE] = np.nan


class Decoder:
    """Turns the answers to one plan into one row. Not for two tasks at once: it keeps its buffer."""

    def __init__(self, profile: Profile, plan: Plan) -> None:
        points = profile.points
        self.plan = plan
        self._blank = empty_row(len(points), 0, Quality.NOT_SCANNED, plan.scan)
        self._blank.quality[list(plan.refused)] = Quality.REFUSED
        self._parts: list[_Part] = []
        places: dict[int, int] = {}  # a point's position in a row -> its first word in the buffer
        factors: dict[int, int] = {}  # the same -> the word that holds its scale factor
        self._size = size = sum(block.count for block in plan.blocks)
        start, swaps = 0, False
        for block, carried in zip(plan.blocks, plan.points, strict=True):
            for index in carried:
                parts = [(places, points[index])]
                if (name := points[index].scale_from) is not None:
                    parts.append((factors, points[profile.index[name]]))
                for found, part in parts:
                    swapped = part.order in SWAPPED
                    swaps |= swapped
                    found[index] = start + (part.address or 0) - block.address + size * swapped
            self._parts.append(_Part(block, slice(start, start + block.count), np.array(carried, np.intp)))
            start += block.count
        self._words = np.zeros(2 * size if swaps else size, WORD)  # the second half: the first with swapped bytes
        self._texts = {
            i: slice(places[i], places[i] + points[i].words) for i in places if points[i].type == "string"
        }
        self._groups: list[_Group] = []
        numbers: list[int] = []
        gather: list[int] = []
        for kind in VIEWS:
            members = [index for index in sorted(places) if points[index].type == kind]
            order = [word for index in members for word in _word_order(points[index], places[index])]
            words = slice(len(gather), len(gather) + len(order))
            rows = slice(len(numbers), len(numbers) + len(members))
            if members:
                self._groups.append(_Group(kind, words, rows, [points[index] for index in members]))
            gather += order
            numbers += members
        self._gather = np.array(gather, np.intp)
        self._numbers = np.array(numbers, np.intp)
        self._scaling = Scaling([points[index] for index in numbers])
        scaled = [row for row, index in enumerate(numbers) if index in factors]
        self._scaled = np.array(scaled, np.intp)
        self._factors = np.array([factors[numbers[row]] for row in scaled], np.intp)

    def decode(self, answers: Sequence[bytes | Quality], t_ns: int) -> Row:
        """One row from the answers to all blocks of the plan.

        Args:
            answers: Per block the data of its answer as it came (big-endian words, or packed bits), as long
                as the block asks for; or the quality of its points where there is none.
            t_ns: When the last answer arrived. [ns, UTC]
        """
        words = self._words
        for part, answer in zip(self._parts, answers, strict=True):
            if not isinstance(answer, Quality):
                words[part.words] = part.unpack(answer)
        if words.size > self._size:
            words[self._size :] = words[: self._size].byteswap()
        row = Row(t_ns, self._blank.values.copy(), self._blank.quality.copy(), {}, self.plan.scan)
        self._decode_numbers(row)
        for index, place in self._texts.items():
            self._decode_text(row, index, words[place])
        for part, answer in zip(self._parts, answers, strict=True):
            if isinstance(answer, Quality):
                row.values[part.points] = np.nan
                row.quality[part.points] = answer
                for index in part.points:
                    row.text.pop(int(index), None)
        return row

    def _decode_numbers(self, row: Row) -> None:
        gathered = self._words.take(self._gather)
        values = np.empty(self._numbers.size)
        quality = np.zeros(self._numbers.size, np.uint8)
        with np.errstate(invalid="ignore"):  # a signalling NaN
            for group in self._groups:
                group.decode(gathered[group.words], values[group.rows], quality[group.rows])
        self._scaling.finish(values, quality, self._powers(quality) if self._scaled.size else None)
        row.values[self._numbers] = values
        row.quality[self._numbers] = quality

    def _powers(self, quality: NDArray[np.uint8]) -> NDArray[np.int16]:
        """The scale factor of each number, 0 where it has none; a factor that is none makes it unknown."""
        found = self._words.take(self._factors).view(np.int16)
        unknown = (found > LARGEST_POWER) | (found < -LARGEST_POWER)
        quality[self._scaled[unknown]] = Quality.UNKNOWN
        powers = np.zeros(quality.size, np.int16)
        powers[self._scaled] = np.where(unknown, 0, found)
        return powers

    @staticmethod
    def _decode_text(row: Row, index: int, words: NDArray[np.uint16]) -> None:
        text = text_of(words.astype(WIRE_WORD).tobytes())
        if text is None:
            row.quality[index] = Quality.NONSENSE
        else:
            row.quality[index] = Quality.GOOD
            row.text[index] = text


def text_of(data: bytes) -> str | None:
    """What a PLC's characters say, up to the first NUL; None where they are not text.

    UTF-8, else Latin-1, which older PLCs use for accents. Erased memory (FF) is no text.
    """
    data = data.split(b"\0", 1)[0]
    if b"\xff" in data:
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    text = text.strip()
    return text if text.isprintable() else None


@dataclass(frozen=True, slots=True)
class _Part:
    """A block's place in the buffer, and its points' in a row."""

    block: Block
    words: slice
    points: NDArray[np.intp]

    def unpack(self, answer: bytes) -> NDArray[np.uint16] | NDArray[np.uint8]:
        """One word per register, or one per bit."""
        if self.block.is_bits:
            return np.unpackbits(np.frombuffer(answer, np.uint8), count=self.block.count, bitorder="little")
        return np.frombuffer(answer, WIRE_WORD)


class _Group:
    """Points of one type: `words` of the gathered words hold the numbers `rows`."""

    def __init__(self, kind: str, words: slice, rows: slice, points: Sequence[Point]) -> None:
        self.words, self.rows = words, rows
        self._view = np.dtype(VIEWS[kind])
        self._pattern = np.dtype(f"<u{self._view.itemsize}")
        self._is_large = kind in ("uint64", "int64", "bcd64")
        self._digits = None
        if kind.startswith("bcd"):
            self._digits = np.arange(0, 8 * self._view.itemsize, 4, dtype=self._pattern)  # their first bits
            self._tens = np.power(10, np.arange(self._digits.size), dtype=np.int64)
        ones = 2 ** (8 * self._view.itemsize) - 1
        self._bits = None
        if kind == "bool":
            self._bits = np.array([ones if p.bit is None else 1 << p.bit for p in points], self._pattern)
        marked = [(row, word & ones) for row, p in enumerate(points) for word in p.invalid]
        self._marked = np.array([row for row, _ in marked], np.intp)
        self._invalid = np.array([word for _, word in marked], self._pattern)

    def decode(self, words: NDArray[np.uint16], values: NDArray[np.float64], quality: NDArray[np.uint8]) -> None:
        raw = words.view(self._view)
        if self._digits is not None:
            digits = (raw[:, np.newaxis] >> self._digits) & 15
            quality[(digits > 9).any(axis=1)] = Quality.NONSENSE
            raw = digits.astype(np.int64) @ self._tens
        values[:] = raw if self._bits is None else (raw & self._bits) != 0
        if self._is_large:  # compared as integers: as float64 2^53 + 1 equals 2^53
            quality[(raw > EXACT_INTEGER) | (raw < -EXACT_INTEGER)] = Quality.TOO_LARGE
        if self._marked.size:
            unknown = words.view(self._pattern).take(self._marked) == self._invalid
            quality[self._marked[unknown]] = Quality.UNKNOWN


def _word_order(point: Point, place: int) -> range:
    """Where the words of a number are, the least significant first."""
    words = range(place, place + point.words)
    return words if point.order in ("cdab", "dcba") else words[::-1]


def _ratio(scale: float) -> tuple[float, float]:
    """Numerator and denominator of the decimal number that the profile states.

    3 counts of 0.1 are then 3 / 10 = 0.3; 3 * 0.1 would be 0.30000000000000004.
    """
    ratio = Fraction(repr(scale))
    if max(abs(ratio.numerator), ratio.denominator) > EXACT_INTEGER:
        return scale, 1.0
    return float(ratio.numerator), float(ratio.denominator)
