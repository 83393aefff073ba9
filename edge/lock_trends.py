"""How a lock ages: coefficients of its sluices, leaks, drive times, each against its own first occasions."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dsp import lock_hydraulics as hydraulics
from edge import wire
from edge.lock_site import LockShape
from edge.unit import NAN, Output, event

SHUT = hydraulics.SHUT
LEAST_DRIFT = {  # smaller changes, as shares of the reference, are no drift
    "discharge_coefficient": 0.05, "leak_m3_s": 0.5, "gate_open_s": 0.1, "gate_close_s": 0.1,
}  # fmt: skip
OF_LOCKAGE = ("coefficient", "coefficient_sigma", "leak_m3_s", "leak_sigma_m3_s", "gate_open_s", "gate_close_s")


class Signals(Protocol):
    gates: NDArray[np.float64]
    sluices: NDArray[np.float64]
    levels: NDArray[np.float64]


class Trends:
    """Figures of one lock. Only a chamber that lies between two reaches has them: there the head is known."""

    def __init__(self, device: str, shape: LockShape) -> None:
        self._device, self._shape = device, shape
        self._of_head = [
            [k for k, h in enumerate(shape.sluice_head) if h == head] for head in range(len(shape.heads))
        ]
        self._flow = [hydraulics.flow_init() for _ in shape.heads]
        self._leak = hydraulics.leak_init()
        self._drive = [hydraulics.drive_init() for _ in shape.gates]
        self._names = list(self._figures())
        self._drift = [hydraulics.drift_init() for _ in self._names]
        self._lockage = np.full(len(OF_LOCKAGE), NAN)  # of the lockage that is going on
        self._flow_out, self._leak_out = np.zeros(1, hydraulics.FLOW_OUT), np.zeros(1, hydraulics.LEAK_OUT)
        self._single = len(shape.passages) == 1

    def _figures(self) -> Iterator[tuple[str, str]]:
        """Code and point of every figure that may come."""
        yield "leak_m3_s", "chamber"
        for head in self._shape.heads:
            yield "discharge_coefficient", f"head_{head.name}"
        for sluice in self._shape.sluices:
            yield "discharge_coefficient", f"sluice_{sluice.id}"
        for gate in self._shape.gates:
            yield "gate_open_s", f"gate_{gate.id}"
            yield "gate_close_s", f"gate_{gate.id}"

    def feed(self, t_ns: int, signals: Signals, now_m: NDArray[np.float64]) -> Iterator[Output]:
        """Take one scan. `now_m`: levels upstream, of the chambers and downstream, spikes left out."""
        for i, gate in enumerate(self._shape.gates):
            took_s = hydraulics.drive_step(self._drive[i], t_ns, float(signals.gates[i]))
            if took_s == took_s:
                code = "gate_open_s" if took_s > 0 else "gate_close_s"
                self._lockage[OF_LOCKAGE.index(code)] = abs(took_s)
                yield from self._tell(code, f"gate_{gate.id}", abs(took_s), NAN, t_ns)
        if self._single:
            yield from self._water(t_ns, signals, now_m)

    def _water(self, t_ns: int, signals: Signals, now_m: NDArray[np.float64]) -> Iterator[Output]:
        shape = self._shape
        level = shape.passages[0].level
        upper, lower = self._bounds(signals, level)
        level_m = float(now_m[level])
        area_m2 = float(sum(shape.areas_m2[upper:lower]))
        shut = self._closed(signals, upper) and self._closed(signals, lower)
        for head in range(len(shape.heads)):
            across = lower if head == upper else upper
            bounds = head in (upper, lower)
            alone = bounds and shut and self._shut(signals, across)
            reach_m = float(now_m[head] if head < level else now_m[head + 1])
            yield from self._filling(t_ns, head, signals, reach_m, level_m, area_m2, alone)
        closed = shut and self._shut(signals, upper) and self._shut(signals, lower)
        if hydraulics.leak_step(self._leak, t_ns, level_m, area_m2, closed, self._leak_out):
            flow, sigma = float(self._leak_out["flow_m3_s"][0]), float(self._leak_out["sigma_m3_s"][0])
            self._lockage[2:4] = flow, sigma
            yield from self._tell("leak_m3_s", "chamber", flow, sigma, t_ns)

    def _filling(
        self, t_ns: int, head: int, signals: Signals, reach_m: float, level_m: float, area_m2: float, alone: bool
    ) -> Iterator[Output]:
        shape, sizes_m2 = self._shape, self._shape.sluice_m2[head]
        if not len(sizes_m2):
            return
        openings = signals.sluices[self._of_head[head]]
        if not hydraulics.flow_step(
            self._flow[head], t_ns, reach_m, level_m, openings, sizes_m2, area_m2, alone, self._flow_out
        ):
            return
        out = self._flow_out[0]
        self._lockage[:2] = out["coefficient"], out["sigma"]
        code, name = "discharge_coefficient", shape.heads[head].name
        yield from self._tell(code, f"head_{name}", float(out["coefficient"]), float(out["sigma"]), t_ns)
        if len(sizes_m2) > 1:  # of a single one it is the head's
            for i, k in enumerate(self._of_head[head]):
                value, sigma = float(out["sluice"][i]), float(out["sluice_sigma"][i])
                yield from self._tell(code, f"sluice_{shape.sluices[k].id}", value, sigma, t_ns)

    def _tell(self, code: str, point: str, value: float, sigma: float, t_ns: int) -> Iterator[Output]:
        """A figure beside its reference; and an event where it begins or ceases to have drifted."""
        if value != value:
            return
        state = self._drift[self._names.index((code, point))]
        before = bool(state["drifted"][0])
        drifted = bool(hydraulics.drift_step(state, value, LEAST_DRIFT[code]))
        base, now = float(state["base"][0]), float(state["now"][0])
        fields: dict[str, wire.Value] = {
            "value": value, "sigma": sigma, "reference": base, "mean": now, "occasions": int(state["n"][0]),
            "drifted": int(drifted),
        }  # fmt: skip
        yield Output("lock_trend", self._device, fields, t_ns, {"code": code, "point": point})
        if drifted != before:
            yield event(
                self._device, f"lock_drift_{code}", point, t_ns, active=int(drifted), value=now, limit=base
            )

    def of_lockage(self, passage: int) -> dict[str, wire.Value]:
        """What the lockage that just ended has shown; unknown is left out."""
        if not self._single:
            return {}
        found: dict[str, wire.Value] = {
            name: float(value) for name, value in zip(OF_LOCKAGE, self._lockage, strict=True) if value == value
        }
        self._lockage[:] = NAN
        return found

    def parts(self) -> list[NDArray[Any]]:
        return [*self._flow, self._leak, *self._drive, *self._drift, self._lockage]

    # The water that the chamber is part of: open gates join chambers.

    def _bounds(self, signals: Signals, level: int) -> tuple[int, int]:
        """The heads above and below it."""
        upper, lower = level - 1, level
        while upper > 0 and self._open(signals, upper):
            upper -= 1
        while lower < len(self._shape.heads) - 1 and self._open(signals, lower):
            lower += 1
        return upper, lower

    def _states(self, signals: Signals, head: int) -> list[float]:
        return [s for s, h in zip(signals.gates, self._shape.gate_head, strict=True) if h == head]

    def _open(self, signals: Signals, head: int) -> bool:
        return all(s == hydraulics.GATE_OPEN for s in self._states(signals, head))

    def _closed(self, signals: Signals, head: int) -> bool:
        return all(s == hydraulics.GATE_CLOSED for s in self._states(signals, head))

    def _shut(self, signals: Signals, head: int) -> bool:
        return bool((signals.sluices[self._of_head[head]] <= SHUT).all())
