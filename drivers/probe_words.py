"""What registers may mean when nobody has said: every reading, and which one looks like a measurement."""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ORDERS = ("abcd", "cdab", "badc", "dcba")
SMALLEST, LARGEST = (
    1e-3,
    1e9,
)  # of a measurement in W, V, A, Hz, kWh; registers of integers seldom read so as floats
NOMINAL_HZ, NOMINAL_V = (
    (50.0, 60.0),
    (230.0, 400.0, 690.0, 3_811.0, 6_351.0, 6_600.0, 11_000.0, 11_547.0, 20_000.0),
)
HZ_BAND, VOLT_BAND = 1.0, 0.06
STRONG, SANE = 3, 1  # votes for a byte order
FEWEST, RARE = 2, 8  # votes, and one in so many pairs: less is chance
MOST_HIGH = 0x0FFF  # high word of a 32-bit counter that is not a float: up to 268 435 455
SHORTEST_TEXT, SURE_TEXT = 3, 5  # words; in a shorter one voltages may have been taken for letters


@dataclass(frozen=True, slots=True)
class Guess:
    """What the registers from an address on most likely hold.

    Attributes:
        type: `float32`, `int32`, `uint16` or `text`.
        order: Of a float32 or int32.
        quantity: `hz`, `v`, or nothing where the number alone does not tell.
        divisor: By which an integer becomes that quantity.
        words: Registers it takes.
    """

    type: str
    value: float | int | str
    words: int
    order: str = ""
    quantity: str = ""
    divisor: int = 1


def bytes_in(order: str, high: int, low: int) -> bytes:
    """Two registers, in the order they came, as four bytes, most significant first."""
    a, b = (high, low) if order in ("abcd", "badc") else (low, high)
    return struct.pack(">HH" if order in ("abcd", "cdab") else "<HH", a, b)


def float_of(order: str, high: int, low: int) -> float:
    return float(struct.unpack(">f", bytes_in(order, high, low))[0])


def int_of(order: str, high: int, low: int) -> int:
    return int.from_bytes(bytes_in(order, high, low), "big", signed=True)


def is_sane(value: float) -> bool:
    """Whether a float is a number that something was measured as."""
    return math.isfinite(value) and SMALLEST <= abs(value) <= LARGEST


def quantity_of(value: float) -> str:
    """What a number most likely is: the grid's frequency, a usual voltage, or nothing that is known."""
    if any(abs(value - nominal) <= HZ_BAND for nominal in NOMINAL_HZ):
        return "hz"
    return "v" if any(abs(value - nominal) <= VOLT_BAND * nominal for nominal in NOMINAL_V) else ""


def guesses(words: Mapping[int, int]) -> dict[int, Guess]:
    """The likely meaning, by first address. Registers that are zero, or tell nothing, have none.

    One byte order for all: the one, with the alignment, in which most pairs look like measurements. A device
    that mixes orders is seen in the columns, not here.
    """
    grid = _grid_quantities(words)
    found = {
        address: guess
        for address, guess in _texts(words)
        if guess.words >= SURE_TEXT or grid.isdisjoint(range(address, address + guess.words))
    }
    taken = {a + i for a, guess in found.items() for i in range(guess.words)}
    free = {a: word for a, word in words.items() if a not in taken}
    order, starts = _best_floats(free)
    for address in starts:
        value = float_of(order, free[address], free[address + 1])
        found[address] = Guess("float32", value, 2, order, quantity_of(value))
        taken |= {address, address + 1}
    word_order = "abcd" if order in ("", "abcd", "badc") else "cdab"
    for address in sorted(free):
        if address not in taken and (guess := _integer(free, address, taken, word_order)) is not None:
            found[address] = guess
            taken |= set(range(address, address + guess.words))
    return found


def _grid_quantities(words: Mapping[int, int]) -> set[int]:
    """Registers of the voltages and frequencies in the best order, if there are several: 11 549 V reads `F4t2`."""
    order, starts = _best_floats(words)
    strong = [a for a in starts if quantity_of(float_of(order, words[a], words[a + 1]))]
    return {a + i for a in strong for i in (0, 1)} if len(strong) >= FEWEST else set()


def _best_floats(words: Mapping[int, int]) -> tuple[str, list[int]]:
    """The order in which most pairs are measurements, and where these begin; none where they are too few."""
    speaking = sum(bool(words[a] or words[a + 1]) for a in words if a + 1 in words)
    best: tuple[int, str, list[int]] = (max(FEWEST, speaking // RARE) - 1, "", [])
    for order in ORDERS:
        for parity in (0, 1):
            votes, starts = 0, []
            for address in (a for a in words if a % 2 == parity and a + 1 in words):
                value = float_of(order, words[address], words[address + 1])
                if is_sane(value):
                    votes += STRONG if quantity_of(value) else SANE
                    starts.append(address)
            if votes > best[0]:
                best = votes, order, starts
    return best[1], best[2]


def _integer(words: Mapping[int, int], address: int, taken: Iterable[int], order: str) -> Guess | None:
    word, after = words[address], words.get(address + 1)
    for divisor in (100, 10):
        quantity = quantity_of(word / divisor)
        if quantity == "hz" or (quantity == "v" and divisor == 10 and word < 5000):
            return Guess("uint16", word, 1, quantity=quantity, divisor=divisor)
    if after is not None and address + 1 not in taken:
        high = word if order == "abcd" else after
        value = int_of(order, word, after)
        if 0 < high <= MOST_HIGH and value > 0xFFFF and value & 0xFFFF:
            return Guess("int32", value, 2, order)
    if word in (0, 0xFFFF, 0x8000, 0x7FFF):
        return None
    return Guess("uint16", word, 1)


def _texts(words: Mapping[int, int]) -> Iterable[tuple[int, Guess]]:
    start, text = 0, ""
    for address in [*sorted(words), -1]:
        pair = words.get(address, 0).to_bytes(2, "big")
        printable = all(0x20 <= byte < 0x7F for byte in pair)
        if text and (not printable or address != start + len(text) // 2):
            if len(text) >= 2 * SHORTEST_TEXT and sum(map(str.isalnum, text)) > len(text) // 2:
                yield start, Guess("text", text.rstrip(), len(text) // 2)
            text = ""
        if printable and address >= 0:
            start = start if text else address
            text += pair.decode("ascii")
