"""A berth: one ship's pack, the tower that charges it, and the meter in front of the tower."""

from dataclasses import asdict
from typing import Any

from firmware_sim.plant.battery import Battery, PackSize
from firmware_sim.plant.charger import Charger, ChargerSize
from firmware_sim.plant.meter import Meter, MeterSize
from firmware_sim.plant.replay import Recording, charges_within, find_charges

NS = 1_000_000_000
LEAD_S = 900  # a replay begins this long before the first call, if nothing else is said


def begin_s(recording: Recording) -> int:
    """Where a replay begins by default: 15 minutes before the first call, or at the start. [s]"""
    charges = find_charges(recording)
    return max(0, charges[0].first_s - LEAD_S) if charges else 0


class Berth:
    """Pure: everything is a function of the time since the start of the replay.

    Args:
        whole: The recording. Calls are looked for in all of it, so that a cut does not change them.
        start_s, span_s: The stretch that is replayed; None for `begin_s`, and for all that follows.
    """

    def __init__(
        self,
        whole: Recording,
        start_s: int | None,
        span_s: int | None,
        pack: PackSize,
        tower: ChargerSize,
        meter: MeterSize,
        vessel: str,
        seed: int,
    ) -> None:
        self.recording = whole.cut(begin_s(whole) if start_s is None else start_s, span_s)
        charges = charges_within(find_charges(whole), self.recording)
        self.battery = Battery(self.recording, pack, vessel, seed)
        self.charger = Charger(
            tower,
            self.recording.voltage_v * pack.series,
            self.recording.current_a * pack.parallel,
            charges,
            vessel,
        )
        self.meter = Meter(meter, self.charger.grid_w, self.charger.reactive_var, seed)

    def truth(self, t_ns: int, epoch_ns: int) -> dict[str, Any]:
        """What only the simulator knows, `t_ns` after the start; calls in simulated time."""
        calls = [
            {
                "mated_ns": epoch_ns + call.mated_s * NS,
                "start_ns": epoch_ns + call.power_s * NS,
                "stop_ns": epoch_ns + call.stop_s * NS,
                "unmated_ns": epoch_ns + call.unmated_s * NS,
                "energy_wh": self.meter.import_wh(call.unmated_s * NS) - self.meter.import_wh(call.mated_s * NS),
            }
            for call in self.charger.calls
        ]
        state = self.charger.state(t_ns)
        return {
            "soc": self.battery.true_soc(t_ns),
            "state": int(state),
            "state_name": state.name,
            "mated": self.charger.mated(t_ns),
            "power_w": self.meter.power_w(t_ns),
            "calls": calls,
        }

    def describe(self) -> dict[str, Any]:
        """What is replayed, and as which pack."""
        pack = self.battery.size
        return {
            "recording": self.recording.name,
            "columns": dict(self.recording.columns),
            "start_s": self.recording.offset_s,
            "span_s": self.recording.seconds,
            "calls": len(self.charger.calls),
            "truth": self.recording.has_truth,
            "pack": {**asdict(pack), "capacity_ah": pack.capacity_ah, "energy_wh": round(pack.energy_wh)},
        }
