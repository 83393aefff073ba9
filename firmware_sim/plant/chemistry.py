"""Cells by chemistry: open-circuit curve, resistances, limits.

Resistances are given per C-rate (volts of drop at 1 C), so that they hold for a cell of any capacity.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID = 41  # knots of an open-circuit curve, evenly from SoC 0 to 1
RATED_TEMP_C = 25.0


@dataclass(frozen=True)
class Chemistry:
    """One kind of cell.

    Attributes:
        ocv_v: At SoC 0, 0.025, … 1. [V]
        r0_v_per_c, r1_v_per_c, r2_v_per_c: Ohmic part and the two RC pairs. [V at 1 C]
        tau1_s, tau2_s: Their time constants.
        hysteresis_v: Half the gap between the charge and the discharge branch.
        hysteresis_rate: e-folds of the branch per unit of SoC moved.
        activation_k: The ohmic part grows with exp(activation (1/T - 1/298 K)).
        coulombic: Share of the charging current that is stored.
        max_v, min_v: Limits of a cell; the charger holds max_v.
        charge_c, discharge_c: Limits of current, in C.
        heat_j_per_k_wh: Thermal mass per Wh of cell, module included.
    """

    ocv_v: tuple[float, ...]
    r0_v_per_c: float
    r1_v_per_c: float
    r2_v_per_c: float
    tau1_s: float
    tau2_s: float
    hysteresis_v: float
    hysteresis_rate: float
    activation_k: float
    coulombic: float
    max_v: float
    min_v: float
    charge_c: float
    discharge_c: float
    heat_j_per_k_wh: float = 8.0

    @property
    def mean_v(self) -> float:
        return float(np.mean(self.ocv_v))

    def ocv(self) -> NDArray[np.float64]:
        return np.array(self.ocv_v)

    def ocv_area(self) -> NDArray[np.float64]:
        """Integral of the curve from SoC 0 to each knot: energy per unit of charge. [V]"""
        curve = self.ocv()
        steps = 0.5 * (curve[1:] + curve[:-1]) / (GRID - 1)
        return np.concatenate([[0.0], np.cumsum(steps)])


# Curves: measured, LG 18650HG2 (C/20, doi 10.17632/cp3473x7xv.3) and A123 26650 (ESC toolbox, 25 °C), mean of
# both branches; below 2.5 % of the NMC curve a straight line to 2.9 V. LTO is typical, not measured.
# Resistances, limits and thermal mass: assumed for large power cells; the measured small cells have about twice.
CHEMISTRIES: Mapping[str, Chemistry] = {
    "nmc": Chemistry(
        ocv_v=(
            2.9000, 3.0600, 3.1817, 3.2664, 3.3460, 3.3880, 3.4344, 3.4707, 3.4995, 3.5126, 3.5323, 3.5709, 3.5945,
            3.6115, 3.6300, 3.6472, 3.6635, 3.6798, 3.6980, 3.7198, 3.7433, 3.7669, 3.7875, 3.8147, 3.8477, 3.8737,
            3.8955, 3.9170, 3.9356, 3.9570, 3.9801, 4.0049, 4.0321, 4.0566, 4.0745, 4.0829, 4.0898, 4.1005, 4.1162,
            4.1411, 4.1883,
        ),
        r0_v_per_c=0.028, r1_v_per_c=0.010, r2_v_per_c=0.024, tau1_s=12.0, tau2_s=140.0,
        hysteresis_v=0.002, hysteresis_rate=20.0, activation_k=2400.0, coulombic=0.999,
        max_v=4.15, min_v=3.0, charge_c=3.0, discharge_c=3.0,
    ),
    "lfp": Chemistry(
        ocv_v=(
            2.6333, 2.8990, 3.0361, 3.1249, 3.1918, 3.2141, 3.2236, 3.2350, 3.2465, 3.2567, 3.2643, 3.2725, 3.2786,
            3.2847, 3.2911, 3.2970, 3.3024, 3.3060, 3.3060, 3.3078, 3.3078, 3.3100, 3.3114, 3.3144, 3.3168, 3.3201,
            3.3230, 3.3258, 3.3299, 3.3342, 3.3400, 3.3438, 3.3452, 3.3468, 3.3477, 3.3496, 3.3523, 3.3536, 3.3630,
            3.3853, 3.5643,
        ),
        r0_v_per_c=0.018, r1_v_per_c=0.012, r2_v_per_c=0.030, tau1_s=20.0, tau2_s=600.0,
        hysteresis_v=0.012, hysteresis_rate=20.0, activation_k=3000.0, coulombic=0.9955,
        max_v=3.60, min_v=2.6, charge_c=2.5, discharge_c=3.0,
    ),
    "lto": Chemistry(
        ocv_v=tuple(
            float(v)
            for v in np.interp(
                np.linspace(0.0, 1.0, GRID),
                (0.0, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0),
                (1.90, 2.08, 2.15, 2.20, 2.26, 2.34, 2.42, 2.52, 2.68),
            )
        ),
        r0_v_per_c=0.012, r1_v_per_c=0.004, r2_v_per_c=0.008, tau1_s=8.0, tau2_s=90.0,
        hysteresis_v=0.001, hysteresis_rate=20.0, activation_k=1800.0, coulombic=0.999,
        max_v=2.70, min_v=1.8, charge_c=5.0, discharge_c=5.0, heat_j_per_k_wh=14.0,
    ),
}  # fmt: skip
