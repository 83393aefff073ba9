"""Which meters have proven that their registers mean what their profiles say. The checks are the drivers'."""

import math
from collections.abc import Mapping

from drivers.plausible import Finding, Plausible
from drivers.row import Row
from edge import wire
from edge.config import LoadedSite, MeterConfig
from edge.unit import Output


class Proofs:
    """A judge for each meter of a site.

    Once proven, a meter stays proven for its profile and its site file: the proof travels in the checkpoint
    under both their hashes, and a change of either asks for another. It takes a few rows.
    """

    def __init__(self, loaded: LoadedSite) -> None:
        self._judges: dict[str, Plausible] = {}
        self._keys: dict[str, str] = {}
        for device in loaded.site.device:
            profile = loaded.profiles[device.name]
            if profile.kind == "meter":
                meter = device.meter or MeterConfig()
                judge = Plausible(profile, meter.wiring, meter.nominal_hz, device.interval_s)
                self._judges[device.name] = judge
                self._keys[device.name] = f"{profile.hash} {loaded.hash}"

    def judge(self, device: str, row: Row) -> list[Output]:
        """Mark what is not proven yet, in place. Returns: events, one for each check that fails and lasts."""
        judge = self._judges.get(device)
        found = judge.judge(row) if judge is not None else []
        return [_event(device, finding, row.t_ns) for finding in found]

    def mark(self, device: str, row: Row) -> None:
        """Mark what is not proven yet, in place. For rows of the past: they prove nothing."""
        if (judge := self._judges.get(device)) is not None:
            judge.mark(row)

    def states(self) -> dict[str, list[str]]:
        """Per meter what its proof holds for, and which groups of points are proven."""
        return {name: [self._keys[name], *sorted(judge.proven)] for name, judge in self._judges.items()}

    def restore(self, states: Mapping[str, list[str]]) -> None:
        for name, (key, *groups) in states.items():
            if self._keys.get(name) == key:
                self._judges[name].proven.update(groups)


def _event(device: str, finding: Finding, t_ns: int) -> Output:
    numbers = {"value": finding.value, "low": finding.low, "high": finding.high}
    fields: dict[str, wire.Value] = {name: x for name, x in numbers.items() if math.isfinite(x)}
    tags = {"code": "implausible", "point": finding.point}
    return Output("event", device, fields | {"detail": finding.check}, t_ns, tags)
