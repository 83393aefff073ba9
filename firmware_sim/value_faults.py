"""Faults of what a point serves: NaN, the maker's value for unknown, stuck, spikes, swapped words. No I/O."""

import math
import zlib
from collections.abc import Callable, Mapping

from drivers.profile import Point, Profile
from firmware_sim.encode import FORMATS, Value, Values, in_order, words_of
from firmware_sim.fault_kinds import KINDS
from firmware_sim.faults import DeviceTraits, Fault, FaultBoard, FaultView
from firmware_sim.plant.noise import uniform

VALUE_FAULTS = tuple(name for name, kind in KINDS.items() if kind.scope == "value")
Encode = Callable[[Point, Value], list[int]]


def traits_of(profile: Profile, protocol: str, without: Mapping[str, str] | None = None) -> DeviceTraits:
    """A device as the board checks faults against it. `without`: faults that its plant cannot have, and why."""

    def named(fits: Callable[[Point], bool]) -> frozenset[str]:
        return frozenset(point.name for point in profile.points if fits(point))

    fitting = {
        "nan": named(lambda p: p.type.startswith("float")),
        "sentinel": named(lambda p: bool(p.invalid)),
        "spike": named(lambda p: p.type not in ("string", "bool")),
        "swapped-words": named(lambda p: p.words > 1 and p.type != "string"),
    }
    return DeviceTraits(profile.kind, protocol, named(lambda _: True), fitting, without or {})


class ValueFaults:
    """The value faults of one device, applied to each reading of it.

    Args:
        elapsed_ns: The present, simulated, since the start. [ns]
        seed: Spikes are drawn from it and from the number of the reading.
    """

    def __init__(
        self, board: FaultBoard, device: str, profile: Profile, elapsed_ns: Callable[[], int], seed: int
    ) -> None:
        self._board = board
        self._device = device
        self._traits = traits_of(profile, "")
        self._elapsed_ns = elapsed_ns
        self._seed = seed
        self._readings = 0
        self._kept: tuple[Fault, Values] | None = None  # what the fault `stuck` has found

    @property
    def none(self) -> bool:
        """The device has no fault, had none and awaits none."""
        return self._board.untouched(self._device)

    def now(self, values: Values) -> tuple[Values, Encode]:
        """The values as the faults of this instant leave them, and how they are put into registers."""
        view = self._board.at(self._device, self._elapsed_ns())
        self._readings += 1
        active = {name: fault for name in VALUE_FAULTS if (fault := view.get(name)) is not None}
        if not active:
            return values, words_of
        return self._changed(values, active), lambda point, value: self._words(view, point, value)

    def raw(self, point: Point) -> int | float | None:
        """What an OPC UA node shows instead of its value: NaN or the maker's value; else None."""
        view = self._board.at(self._device, self._elapsed_ns())
        if self._hits(view.get("sentinel"), point):
            return _as_signed(point, point.invalid[0])
        return math.nan if self._hits(view.get("nan"), point) else None

    def _hits(self, fault: Fault | None, point: Point) -> bool:
        if fault is None or fault.text("point") not in ("", point.name):
            return False
        return point.name in self._traits.points_for(fault.name)

    def _changed(self, values: Values, active: dict[str, Fault]) -> Values:
        changed = dict(values)
        stuck, spike = active.get("stuck"), active.get("spike")
        if stuck is not None:
            if self._kept is None or self._kept[0] is not stuck:
                self._kept = stuck, dict(values)
            kept, only = self._kept[1], stuck.text("point")
            changed.update({only: kept.get(only)} if only else kept)
        if spike is not None:
            for name in [spike.text("point")] if spike.text("point") else self._traits.points_for("spike"):
                value = changed.get(name)
                drawn = uniform(self._seed, zlib.crc32(name.encode()), self._readings)
                if isinstance(value, int | float) and drawn < spike.number("rate"):
                    peak = value * spike.number("factor")
                    changed[name] = round(peak) if isinstance(value, int) else peak
        return changed

    def _words(self, view: FaultView, point: Point, value: Value) -> list[int]:
        if self._hits(view.get("sentinel"), point):
            words = words_of(point, None)
        elif self._hits(view.get("nan"), point):
            words = in_order(FORMATS[point.type], point, math.nan)
        else:
            words = words_of(point, value)
        return words[::-1] if self._hits(view.get("swapped-words"), point) else words


def _as_signed(point: Point, word: int) -> int:
    """The number that a raw word stands for in the point's type: a profile may give either."""
    half = 1 << (16 * point.words - 1)
    return word - 2 * half if point.type.startswith("int") and word >= half else word
