"""What the cases judge by. Each limit has a default for large-gauge locks and MW chargers, and may be given."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace


def _limit(default: float, text: str, low: float = 0.0, high: float = math.inf) -> float:
    value: float = field(default=default, metadata={"text": text, "low": low, "high": high})
    return value


@dataclass(frozen=True)
class Limits:
    """Units are in the names. Where no norm or contract gives a figure, the default is ours: see the README."""

    good_share: float = _limit(0.99, "least share of scans in which a point is good", 0.5, 1.0)
    heartbeat_s: float = _limit(10.0, "longest time that a heartbeat may stand", 0.5, 3600.0)
    round_trip_s: float = _limit(0.5, "95 % of the answers come within", 0.001, 60.0)
    spike_share: float = _limit(0.2, "a lone reading this share of its span away is a spike", 0.01, 1.0)
    voltage_share: float = _limit(0.05, "most that a phase may differ from the mean of the three", 0.001, 0.5)
    nominal_v: float = _limit(0.0, "nominal phase voltage; 0: only compared with each other", 0.0, 1e6)
    nominal_hz: float = _limit(50.0, "nominal frequency; 0 for DC", 0.0, 60.0)
    frequency_hz: float = _limit(0.5, "most that the frequency may differ from nominal", 0.01, 5.0)
    power_share: float = _limit(0.02, "most that power may differ from voltage, current and factor", 0.001, 0.5)
    energy_share: float = _limit(0.01, "most that a register may differ from integrated power", 0.0005, 0.5)
    max_power_w: float = _limit(0.0, "largest power of the installation; 0: the upper range of power_w", 0.0, 1e9)
    wrap_days: float = _limit(30.0, "an outage that must not hide a roll-over", 0.1, 3650.0)
    ramp_w_per_s: float = _limit(0.0, "largest ramp agreed with the grid operator; 0: none was given", 0.0, 1e9)
    cell_spread_v: float = _limit(0.15, "largest difference between cells", 0.001, 2.0)
    cell_low_v: float = _limit(1.5, "lowest plausible cell voltage", 0.1, 5.0)
    cell_high_v: float = _limit(4.5, "highest plausible cell voltage", 0.1, 6.0)
    capacity_ah: float = _limit(0.0, "capacity of the pack; 0: not known", 0.0, 1e7)
    head_m: float = _limit(0.10, "difference of level above which no gate may open", 0.005, 1.0)
    leak_m_per_min: float = _limit(0.03, "level change with all closed that is no leak", 0.001, 1.0)
    level_m: float = _limit(0.10, "how far the chamber may lie outside its two reaches", 0.01, 2.0)
    drive_low_s: float = _limit(15.0, "shortest way of a gate", 1.0, 600.0)
    drive_high_s: float = _limit(240.0, "longest way of a gate", 1.0, 3600.0)
    chamber_area_m2: float = _limit(1735.2, "area of the chamber", 10.0, 100_000.0)
    panel_s: float = _limit(2.0, "time within which an emergency stop shows", 0.2, 60.0)

    @classmethod
    def with_changes(cls, given: Sequence[str]) -> "Limits":
        """The defaults with `name=value` put in their place. Raises: ValueError, with one line per problem."""
        known = {f.name: f.metadata for f in fields(cls)}
        changes: dict[str, float] = {}
        problems = []
        for text in given:
            name, _, value = text.partition("=")
            if name not in known:
                problems.append(f"--limit {text}: {name!r} is not one of {', '.join(known)}")
                continue
            low, high = known[name]["low"], known[name]["high"]
            try:
                changes[name] = float(value)
            except ValueError:
                changes[name] = math.nan
            if not low <= changes[name] <= high:
                problems.append(f"--limit {text}: give a number from {low:g} to {high:g} ({known[name]['text']})")
        if problems:
            raise ValueError("\n".join(problems))
        return replace(cls(), **changes)

    def shown(self) -> list[tuple[str, float, str, bool]]:
        """Name, value, meaning, and whether it is not the default."""
        return [
            (f.name, getattr(self, f.name), f.metadata["text"], getattr(self, f.name) != f.default)
            for f in fields(self)
        ]
