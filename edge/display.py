"""What an engineer reads off a device's own display, and whether the registers say the same; if not, why."""

import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from drivers.probe_words import ORDERS
from drivers.profile import Point

PREFIXES = {
    name: Decimal(factor) for name, factor in (("", "1"), ("k", "1e3"), ("M", "1e6"), ("G", "1e9"), ("m", "1e-3"))
}
BASES = ("Wh", "varh", "VAh", "W", "var", "VA", "V", "A", "Hz", "°C", "Ω", "m", "s")
LIVE = 0.02  # what a reading may move while a person looks from one to the other
NEAR = 0.03  # of a factor that explains a difference; factors of ten are far apart
POWERS = (1, 2, 3, 4, 5, 6)
FORMATS = {
    2: {"float32": ">f", "int32": ">i", "uint32": ">I"},
    4: {"float64": ">d", "int64": ">q", "uint64": ">Q"},
}


@dataclass(frozen=True, slots=True)
class Typed:
    """A reading of the display, in the unit of the point. `step`: what its last digit stands for."""

    text: str
    value: float
    step: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What we read of a point while the display was looked at. `words`: its registers in hex, or ""."""

    low: float
    high: float
    last: float
    words: str = ""

    @classmethod
    def of(cls, values: Sequence[float | None], words: str = "") -> "Seen":
        """Of values in the order in which they came."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        if not known:
            return cls(math.nan, math.nan, math.nan, words)
        return cls(min(known), max(known), known[-1], words)


@dataclass(frozen=True, slots=True)
class Agreement:
    """A point against the display. `code`: `agrees`, or what is wrong; `values` go into its sentence."""

    point: str
    unit: str
    typed: Typed
    seen: Seen
    code: str
    values: dict[str, Any]

    @property
    def good(self) -> bool:
        return self.code == "agrees"


def parse_typed(text: str, point: Point) -> Typed:
    """`48 211,907 kWh` as a reading of a point. Raises: ValueError: what is wrong with it, and what to write."""
    match = re.fullmatch(r"\s*([+\-\u2212]?[\d\s\u00a0\u202f.,']+?)\s*([A-Za-zµ°Ω]*)\s*", text)
    number = re.sub(r"[\s\u00a0\u202f']", "", match[1]).replace("\u2212", "-") if match else ""
    try:
        if number.count(",") + number.count(".") > 1:
            raise InvalidOperation
        value = Decimal(number.replace(",", "."))
    except InvalidOperation:
        raise ValueError(
            f"{point.name} = {text!r}: is no number with its unit; write it as in {_example(point)}"
        ) from None
    exponent = value.as_tuple().exponent
    assert match is not None and isinstance(exponent, int)
    factor = _factor(match[2], point, text)
    return Typed(text.strip(), float(value * factor), float(Decimal(10) ** exponent * factor))


def _factor(unit: str, point: Point, text: str) -> Decimal:
    if not point.unit:
        if unit:
            raise ValueError(f"{point.name} = {text!r}: the point has no unit; leave {unit} out")
        return Decimal(1)
    for base in sorted(BASES, key=len, reverse=True):
        if unit.endswith(base) and (prefix := unit.removesuffix(base)) in PREFIXES:
            if base == point.unit:
                return PREFIXES[prefix]
            break
    raise ValueError(
        f"{point.name} = {text!r}: {unit or 'no unit'} is not the unit that the display shows of it;"
        f" write {point.unit}, k{point.unit} or M{point.unit}, as in {_example(point)}"
    )


def _example(point: Point) -> str:
    return {"Wh": "48211.907 kWh", "W": "6998.4 kW", "V": "6351 V", "A": "367.2 A", "Hz": "50.01 Hz"}.get(
        point.unit, f"12.5 {point.unit}".strip()
    )


def compare(
    point: Point, typed: Typed, seen: Seen, ct_ratio: float, vt_ratio: float, why_unknown: str = ""
) -> Agreement:
    """Whether they agree, and if not what explains it.

    Args:
        ct_ratio, vt_ratio: Of the meter's transformers, as in its site file.
        why_unknown: Name of the quality, where nothing was read.
    """
    if math.isnan(seen.last):
        return Agreement(point.name, point.unit, typed, seen, "unknown", {"why": why_unknown})
    code: str = "agrees"
    values: dict[str, Any] = {}
    if not _agrees(point, typed, seen):
        code, values = next(_causes(point, typed, seen, ct_ratio, vt_ratio), ("differs", {}))
    return Agreement(point.name, point.unit, typed, seen, code, values)


def _agrees(point: Point, typed: Typed, seen: Seen) -> bool:
    """A counter agrees to the display's last digit, what is live within 2 %."""
    counter = point.name.endswith(("_wh", "_varh"))
    size = max(abs(seen.last), abs(typed.value))
    fine = abs(float(np.spacing(np.float32(seen.last)))) if point.type == "float32" else abs(point.scale)
    allowed = typed.step + fine + (0.0 if counter else LIVE * size)
    return seen.low - allowed <= typed.value <= seen.high + allowed


def _causes(
    point: Point, typed: Typed, seen: Seen, ct_ratio: float, vt_ratio: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What would explain the difference, the surest first."""
    for order, kind in _readings(point, seen.words, typed):
        if kind == point.type:
            yield "swapped_words", {"order": order, "was": point.order}
        else:
            yield "other_type", {"type": kind, "was": point.type, "order": order}
    if typed.value == 0.0 or seen.last == 0.0:
        return
    ratio = seen.last / typed.value
    sign = math.copysign(1.0, ratio)
    if _near(ratio, -1.0):
        yield "reversed", {}
    for name, by in (("ct_ratio", ct_ratio), ("vt_ratio", vt_ratio), ("both_ratios", ct_ratio * vt_ratio)):
        if by != 1.0 and (_near(ratio * sign, by) or _near(ratio * sign, 1.0 / by)):
            yield name, {"by": by, "times": ratio}
    for power in POWERS:
        for factor in (10.0**power, 10.0**-power):
            if _near(ratio * sign, factor):
                unit = "unit" if power in (3, 6) else "scale"
                yield unit, {"times": ratio, "scale": point.scale / (factor * sign)}
    for name, factor in (("sqrt3", math.sqrt(3.0)), ("joule", 3600.0), ("third", 3.0)):
        if _near(ratio * sign, factor) or _near(ratio * sign, 1.0 / factor):
            yield name, {"times": ratio}


def _near(value: float, factor: float) -> bool:
    return abs(value / factor - 1.0) <= NEAR


def _readings(point: Point, words: str, typed: Typed) -> Iterator[tuple[str, str]]:
    """Other orders and types of the same registers in which they agree with the display."""
    data = bytes.fromhex(words)
    formats = FORMATS.get(len(data) // 2, {})
    if point.type not in formats or point.scale_from is not None or typed.value == 0.0:
        return
    kinds = [point.type, *(kind for kind in formats if kind != point.type)]
    for kind in kinds:
        for order in ORDERS:
            if (kind, order) == (point.type, point.order):
                continue
            value = struct.unpack(formats[kind], _ordered(data, order))[0] * point.scale + point.offset
            if math.isfinite(value) and _agrees(point, typed, Seen(value, value, value)):
                yield order, kind


def _ordered(data: bytes, order: str) -> bytes:
    """Registers as they came, most significant byte first."""
    words = [data[i : i + 2] for i in range(0, len(data), 2)]
    if order in ("cdab", "dcba"):
        words.reverse()
    return b"".join(word[::-1] if order in ("badc", "dcba") else word for word in words)


def permuted(agreements: Sequence[Agreement]) -> str:
    """The phases that are mixed up, as in `l1=l2 l2=l1`: the display has our values under other phases; else "".

    Of three currents, voltages or powers, which must differ by more than a person's reading.
    """
    for stem in ("current", "power", "voltage"):
        phases = {a.point.split("_")[1]: a for a in agreements if re.fullmatch(rf"{stem}_l[123]_\w+", a.point)}
        if len(phases) < 2 or all(a.good for a in phases.values()):
            continue
        found: dict[str, str] = {}
        for phase, mine in phases.items():
            fits = [
                other for other, a in phases.items()
                if other not in found.values()
                and abs(a.typed.value - mine.seen.last) <= LIVE * abs(mine.seen.last)
            ]  # fmt: skip
            if len(fits) != 1:
                break
            found[phase] = fits[0]
        if len(found) == len(phases) and any(k != v for k, v in found.items()):
            return " ".join(f"{ours}={theirs}" for ours, theirs in found.items() if ours != theirs)
    return ""
