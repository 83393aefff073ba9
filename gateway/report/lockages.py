"""Lockages of a period: how many, how long, with how much water and energy. A lockage counts where it ends.

A chamber draws water from the upper reach when it fills, on the way up, and gives it to the lower reach when it
empties: the two are one chamber of water, so they are told apart and never added.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gateway.report.month import NS
from gateway.report.source import tag
from gateway.store.base import UNKNOWN, Store

LONGEST_NS = 31 * 86_400 * NS  # a lockage that ends in the period is looked for this long before it
FIELDS = ("end_ns", "vessel_seen", "false_lockage", "complete", "volume_m3", "energy_wh", "direction", "withdrawn")
WAYS = ("up", "down", "unknown")
CYCLES = ("up", "down")  # whose times mean something
P95 = Fraction(95, 100)


@dataclass(frozen=True)
class CycleTimes:
    """Complete lockages that were not empty, in one direction. None where there was none."""

    lasted_ns: NDArray[np.int64]  # sorted

    @property
    def count(self) -> int:
        return len(self.lasted_ns)

    def __add__(self, other: "CycleTimes") -> "CycleTimes":
        return CycleTimes(np.sort(np.concatenate((self.lasted_ns, other.lasted_ns))))

    @property
    def mean_s(self) -> Fraction | None:
        return Fraction(int(self.lasted_ns.sum()), self.count * NS) if self.count else None

    def quantile_s(self, share: Fraction) -> Fraction | None:
        """The least time that this share of them did not exceed: one that really was (nearest rank)."""
        if not self.count:
            return None
        rank = max(1, -(-self.count * share.numerator // share.denominator))
        return Fraction(int(self.lasted_ns[rank - 1]), NS)


@dataclass(frozen=True)
class MeanTime:
    """Of a period whose lockages are not at hand: their mean as it was told."""

    mean_s: Fraction | None


@dataclass(frozen=True)
class Amount:
    """A sum over those lockages that had it measured; None if none of several had."""

    value: Fraction | None
    measured: int
    of: int

    @property
    def coverage(self) -> Fraction | None:
        return Fraction(self.measured, self.of) if self.of else None

    @property
    def mean(self) -> Fraction | None:
        return None if self.value is None or not self.measured else self.value / self.measured

    def __add__(self, other: "Amount") -> "Amount":
        told = [amount for amount in (self.value, other.value) if amount is not None]
        total = sum(told, Fraction(0)) if told else None
        return Amount(total, self.measured + other.measured, self.of + other.of)


@dataclass(frozen=True)
class Lockages:
    """Columns of the lockages that ended in a period, oldest first."""

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    way: NDArray[np.object_]  # up, down, unknown
    vessel: NDArray[np.int64]  # 1 seen, 0 none: an empty lockage, -1 no sensor told
    complete: NDArray[np.bool_]
    volume_m3: NDArray[np.float64]
    energy_wh: NDArray[np.int64]  # UNKNOWN where not measured
    chamber: NDArray[np.object_]  # "" where the lock has one only
    origins: frozenset[str]

    @classmethod
    def read(cls, store: Store, site: str, lock: str, start_ns: int, stop_ns: int) -> "Lockages":
        """Those with start < end <= stop: what ends at midnight belongs to the day before."""
        rows = store.columns("lock_cycle", lock, FIELDS, start_ns - LONGEST_NS, stop_ns, site=site)
        end_ns = rows.whole("end_ns")
        ended = (end_ns > start_ns) & (end_ns <= stop_ns) & (rows["withdrawn"] != 1)  # late rows may deny one
        way = rows.text["direction"]
        way = np.where(np.isin(way.astype(str), CYCLES), way, "unknown").astype(object)
        complete = rows["complete"] == 1
        vessel = np.where(np.isnan(rows["vessel_seen"]), -1, rows["vessel_seen"]).astype(np.int64)
        vessel = np.where(rows["false_lockage"] == 1, 0, vessel)
        return cls(
            start_ns=rows.t_ns[ended], end_ns=end_ns[ended], way=way[ended], vessel=vessel[ended],
            complete=complete[ended], volume_m3=rows["volume_m3"][ended],
            energy_wh=rows.whole("energy_wh")[ended], chamber=tag(rows, "point")[ended],
            origins=frozenset(tag(rows, "origin")[ended]),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.start_ns)

    @cached_property
    def by_way(self) -> Mapping[str, int]:
        found = Counter(self.way)
        return {way: found[way] for way in WAYS}

    @property
    def incomplete(self) -> int:
        """Those of which a part was not seen."""
        return int((~self.complete).sum())

    @property
    def vessel_told(self) -> int:
        """Complete ones of which a sensor told whether a vessel was there."""
        return int((self.complete & (self.vessel >= 0)).sum())

    @property
    def empty(self) -> int | None:
        """False lockages; None where no sensor could tell. One that was not seen whole proves nothing."""
        if not self.vessel_told and len(self):
            return None
        return int((self.complete & (self.vessel == 0)).sum())

    def cycle_times(self, way: str) -> CycleTimes:
        chosen = self.complete & (self.vessel != 0) & (self.way == way)
        return CycleTimes(np.sort(self.end_ns[chosen] - self.start_ns[chosen]))

    @property
    def drawn_m3(self) -> Amount:
        """Water out of the upper reach: fillings of the uppermost chamber."""
        return self._volume((self.way == "up") & (self.chamber == min(self.chamber, default="")))

    @property
    def released_m3(self) -> Amount:
        """Water into the lower reach: emptyings of the lowest chamber."""
        return self._volume((self.way == "down") & (self.chamber == max(self.chamber, default="")))

    @property
    def moved_m3(self) -> Amount:
        """All fillings and emptyings: only its mean, the volume of a lockage, means something."""
        return self._volume(np.ones(len(self), bool))

    @property
    def energy(self) -> Amount:
        """Differences of the lock's register from the end of one lockage to that of the next. [Wh]"""
        known = self.energy_wh != UNKNOWN
        total = Fraction(int(self.energy_wh[known].sum()))
        return Amount(total if known.any() or not len(self) else None, int(known.sum()), len(self))

    def _volume(self, chosen: NDArray[np.bool_]) -> Amount:
        volume_m3 = self.volume_m3[chosen]
        known = volume_m3[np.isfinite(volume_m3)]
        total = sum(map(Fraction, known.tolist()), Fraction(0))
        return Amount(total if len(known) or not len(volume_m3) else None, len(known), len(volume_m3))
