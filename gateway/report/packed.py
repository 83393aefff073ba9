"""A column of whole numbers in as few bytes as it needs: a month of a hundred meters has fifty million of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNITS = (60_000_000_000, 1_000_000_000, 1_000_000)  # ns: times are mostly whole minutes, seconds or milliseconds
NARROW = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True)
class Packed:
    """`base + unit * steps`; without steps `count` times the base."""

    base: int
    unit: int
    count: int
    steps: NDArray[Any] | None

    @classmethod
    def of(cls, column: NDArray[np.int64]) -> "Packed":
        if not len(column):
            return cls(0, 1, 0, None)
        base, top = int(column.min()), int(column.max())
        if base == top:
            return cls(base, 1, len(column), None)
        if top - base >= 2**63:
            return cls(0, 1, len(column), column.copy())
        steps, span, unit = column - base, top - base, 1
        if span >= 2**32:  # else it is narrow as it is
            unit = next((u for u in UNITS if (steps // u * u == steps).all()), 1)  # % is four times as slow
            steps, span = steps // unit, span // unit
        narrow = next((dtype for dtype in NARROW if span <= np.iinfo(dtype).max), None)
        return cls(base, unit, len(column), steps if narrow is None else steps.astype(narrow))

    def unpacked(self) -> NDArray[np.int64]:
        if self.steps is None:
            return np.full(self.count, self.base, np.int64)
        column = self.steps.astype(np.int64)
        if self.unit != 1:
            column *= self.unit
        if self.base:
            column += self.base
        return column

    def cut(self, low: int, high: int) -> "Packed":
        low, high, _ = slice(low, high).indices(self.count)
        steps = None if self.steps is None else self.steps[low:high]
        return Packed(self.base, self.unit, max(high - low, 0), steps)
