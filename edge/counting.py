"""How a meter's rows are counted: what its site file and profile say, as the kernels of `dsp` take it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.profile import Profile

if TYPE_CHECKING:
    from edge.config import MeterConfig

NS = 1_000_000_000
IMPORT = "energy_import_total_wh"
RANGES = {
    "uint16": 2**16, "int16": 2**15, "uint32": 2**32, "int32": 2**31, "bcd16": 10**4, "bcd32": 10**8,
}  # fmt: skip


@dataclass(frozen=True)
class Counting:
    """In the catalogue too, so that the shore counts alike. Ratio: from what a row shows to the primary side."""

    max_gap_s: float
    max_power_w: float
    ratio: float
    quantum_wh: float
    range_wh: float

    @property
    def max_gap_ns(self) -> int:
        return int(self.max_gap_s * NS)


def counting_of(meter: "MeterConfig", profile: Profile) -> Counting:
    ratio = meter.ct_ratio * meter.vt_ratio if meter.registers == "secondary" else 1.0
    at = profile.index.get(IMPORT)
    register = profile.points[at] if at is not None else None
    quantum_wh = (register.scale if register is not None else 1.0) * ratio
    steps = RANGES.get(register.type, 2**63) if register is not None else 2**63
    if register is not None and register.scale_from is not None:
        steps = 2**63  # where it goes over depends on a factor that the device may change
    return Counting(meter.max_gap_s, meter.max_power_w, ratio, quantum_wh, float(steps) * quantum_wh)
