"""A ship's battery pack: two RC pairs with hysteresis, heat, and the BMS with its limits and its own opinion.

One mean cell carries current, charge and heat; the best and the worst cell stand beside it by a fixed spread of
SoC and resistance, and it is they that meet the limits. Every part of a step is integrated in closed form at
constant current, so the energy at the terminals is what is stored plus heat, whatever the step.

Kernels index one-dimensional rows with the constants below and call `math` only, so that they run on lists too.
"""

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firmware_sim.plant.chemistry import CHEMISTRIES, GRID, RATED_TEMP_C

Floats = NDArray[np.float64]

# Parameters. Per cell unless said otherwise.
(
    SERIES, PARALLEL, Q_AS, R0, R1, TAU1, R2, TAU2, HYST_V, HYST_RATE, ACTIVATION, COULOMBIC, HEAT_J_K, COOL_W_K,
    AMBIENT_C, MAX_V, MIN_V, CHARGE_A, DISCHARGE_A, SPREAD_SOC, SPREAD_R, BMS_GAIN, BMS_OFFSET_A, BMS_FULL,
    WARM_C, HOT_C, RESET_S, SEA_W, HOTEL_W, CROSSING_S, FAR_W, FAR_SOC, MOST_W, PACK_PARAMS,
) = range(34)  # fmt: skip
# State. From TERM_J on: energies of the whole pack since the start.
(
    SOC, V1, V2, HYST, TEMP, SOC_BMS, CURRENT_A, VOLTAGE_V, CELL_MIN_V, CELL_MAX_V, CHARGE_W, DISCHARGE_W,
    CONTACTOR, ALARM, TRIP_S, REST_S, AT_BERTH, FREE_S, TERM_J, STORED_J, HEAT_J, SEA_J, HOTEL_J, FAR_J, IN_J,
    PACK_STATE,
) = range(26)  # fmt: skip
OVER_VOLTAGE, UNDER_VOLTAGE, OVER_TEMPERATURE, UNEVEN, TRIPPED = 1, 2, 4, 8, 16  # bits of ALARM
_RESERVE = 0.10  # below this SoC the generators take over, fully at half of it


@dataclass(frozen=True)
class PackSpec:
    """A ship and its pack.

    Attributes:
        sea_w: Mean power from the pack during a crossing; `hotel_w` is what the ship takes at berth.
        crossing_s: How long a crossing takes; between two of them the ship lies in the port across the water.
        far_w: Charging there, up to `far_soc`.
        most_w: What cables and switchboard carry; the BMS permits no more, however large the pack.
        spread: Standard deviation of SoC between cells; limits see three of them.
    """

    chemistry: str = "nmc"
    energy_wh: float = 40_000_000.0
    voltage_v: float = 1000.0
    cell_ah: float = 78.0
    soc: float = 0.45
    soh: float = 0.96
    temp_c: float = 22.0
    ambient_c: float = 18.0
    cooling_s: float = 2400.0  # time constant to the coolant
    spread: float = 0.004
    sea_w: float = 13_000_000.0
    hotel_w: float = 450_000.0
    crossing_s: float = 5400.0
    far_w: float = 0.0
    far_soc: float = 0.8
    most_w: float = 60_000_000.0
    bms_offset: float = 0.02
    bms_gain: float = 1.006

    @property
    def series(self) -> int:
        return max(1, round(self.voltage_v / CHEMISTRIES[self.chemistry].mean_v))

    @property
    def parallel(self) -> int:
        per_string_wh = self.series * CHEMISTRIES[self.chemistry].mean_v * self.cell_ah * self.soh
        return max(1, round(self.energy_wh / per_string_wh))

    def parameters(self) -> Floats:
        cell = CHEMISTRIES[self.chemistry]
        ah = self.cell_ah * self.soh
        worn = 1.0 + 2.0 * (1.0 - self.soh)  # resistance grows as capacity falls
        heat_j_k = cell.heat_j_per_k_wh * cell.mean_v * self.cell_ah
        p = np.zeros(PACK_PARAMS)
        p[SERIES], p[PARALLEL], p[Q_AS] = self.series, self.parallel, 3600.0 * ah
        p[R0], p[R1], p[R2] = (worn * r / ah for r in (cell.r0_v_per_c, cell.r1_v_per_c, cell.r2_v_per_c))
        p[TAU1], p[TAU2], p[HYST_V], p[HYST_RATE] = (
            cell.tau1_s,
            cell.tau2_s,
            cell.hysteresis_v,
            cell.hysteresis_rate,
        )
        p[ACTIVATION], p[COULOMBIC] = cell.activation_k, cell.coulombic
        p[HEAT_J_K], p[COOL_W_K], p[AMBIENT_C] = heat_j_k, heat_j_k / self.cooling_s, self.ambient_c
        p[MAX_V], p[MIN_V] = cell.max_v, cell.min_v
        p[CHARGE_A], p[DISCHARGE_A] = cell.charge_c * ah, cell.discharge_c * ah
        p[SPREAD_SOC], p[SPREAD_R] = 3.0 * self.spread, 0.06
        p[BMS_GAIN], p[BMS_OFFSET_A], p[BMS_FULL] = self.bms_gain, 0.0006 * ah, 0.99
        p[WARM_C], p[HOT_C], p[RESET_S] = 42.0, 58.0, 1800.0
        p[SEA_W], p[HOTEL_W], p[CROSSING_S] = self.sea_w, self.hotel_w, self.crossing_s
        p[FAR_W], p[FAR_SOC], p[MOST_W] = self.far_w, self.far_soc, self.most_w
        return p

    def state(self) -> Floats:
        s = np.zeros(PACK_STATE)
        s[SOC], s[TEMP], s[CONTACTOR] = self.soc, self.temp_c, 1.0
        s[SOC_BMS] = min(1.0, max(0.0, self.soc + self.bms_offset))
        cell = CHEMISTRIES[self.chemistry]
        pack_step(self.parameters(), cell.ocv(), cell.ocv_area(), s, 0.0, 0.0)
        return s


@njit(cache=True, nogil=True)
def ocv_at(ocv: Floats, soc: float) -> float:
    """Open-circuit voltage: a straight line between knots, the last ones carried on. [V]"""
    x = soc * (GRID - 1)
    i = min(max(int(x), 0), GRID - 2)
    return ocv[i] + (ocv[i + 1] - ocv[i]) * (x - i)


@njit(cache=True, nogil=True)
def area_at(ocv: Floats, area: Floats, soc: float) -> float:
    """Integral of the open-circuit curve from 0 to `soc`, exactly that of `ocv_at`. [V]"""
    x = soc * (GRID - 1)
    i = min(max(int(x), 0), GRID - 2)
    f = x - i
    return area[i] + f * (ocv[i] + 0.5 * f * (ocv[i + 1] - ocv[i])) / (GRID - 1)


@njit(cache=True, nogil=True)
def ohmic(p: Floats, temp_c: float) -> float:
    """Ohmic resistance of a cell at a temperature. [ohm]"""
    return p[R0] * exp(p[ACTIVATION] * (1.0 / (temp_c + 273.15) - 1.0 / (RATED_TEMP_C + 273.15)))


@njit(cache=True, nogil=True)
def pack_current(p: Floats, ocv: Floats, s: Floats, power_w: float) -> float:
    """The current at which the terminals take `power_w` (positive: charging), within the pack's ability. [A]"""
    open_v = ocv_at(ocv, s[SOC]) + s[V1] + s[V2] + p[HYST_V] * s[HYST]
    r = ohmic(p, s[TEMP])
    cell_w = power_w / (p[SERIES] * p[PARALLEL])
    root = max(0.0, open_v * open_v + 4.0 * r * cell_w)  # more than the largest power: that one
    return p[PARALLEL] * (sqrt(root) - open_v) / (2.0 * r)


@njit(cache=True, nogil=True)
def charge_ceiling(p: Floats, ocv: Floats, s: Floats) -> float:
    """The current that brings the best cell to its largest voltage: constant voltage. [A]"""
    r = 1.0 + p[SPREAD_R]
    open_v = ocv_at(ocv, s[SOC] + p[SPREAD_SOC]) + r * (s[V1] + s[V2]) + p[HYST_V] * s[HYST]
    return max(0.0, p[PARALLEL] * (p[MAX_V] - open_v) / (r * ohmic(p, s[TEMP])))


@njit(cache=True, nogil=True)
def pack_step(p: Floats, ocv: Floats, area: Floats, s: Floats, current_a: float, dt: float) -> float:
    """Move the pack by `dt` at constant current. Returns: energy into its terminals. [J]"""
    i = current_a / p[PARALLEL]
    r0 = ohmic(p, s[TEMP])
    eta = p[COULOMBIC] if i > 0.0 else 1.0
    before = s[SOC]
    s[SOC] = before + eta * i * dt / p[Q_AS]
    stored = p[Q_AS] * (area_at(ocv, area, s[SOC]) - area_at(ocv, area, before))
    heat = i * i * r0 * dt + (1.0 / eta - 1.0) * stored
    # Each RC pair goes to i R; half C v^2 is stored, the rest of what it takes is heat.
    for pair in range(2):
        at = V1 if pair == 0 else V2
        r, tau = (p[R1], p[TAU1]) if pair == 0 else (p[R2], p[TAU2])
        v = s[at]
        keep = exp(-dt / tau)
        s[at] = i * r + (v - i * r) * keep
        taken = i * (i * r * dt + (v - i * r) * tau * (1.0 - keep))
        held = 0.5 * tau / r * (s[at] * s[at] - v * v)
        stored += held
        heat += taken - held
    if i != 0.0:
        side = 1.0 if i > 0.0 else -1.0
        rate = p[HYST_RATE] * abs(i) / p[Q_AS]
        keep = exp(-rate * dt)
        heat += i * p[HYST_V] * (side * dt + (s[HYST] - side) * (1.0 - keep) / rate)
        s[HYST] = side + (s[HYST] - side) * keep
    cooled = exp(-dt * p[COOL_W_K] / p[HEAT_J_K])
    warm = p[AMBIENT_C] + (heat / dt / p[COOL_W_K] if dt > 0.0 else 0.0)
    s[TEMP] = warm + (s[TEMP] - warm) * cooled
    cells = p[SERIES] * p[PARALLEL]
    term_j = cells * (stored + heat)
    s[STORED_J] += cells * stored
    s[HEAT_J] += cells * heat
    s[TERM_J] += term_j
    _bms(p, ocv, s, i, r0, dt)
    return term_j


@njit(cache=True, nogil=True)
def _bms(p: Floats, ocv: Floats, s: Floats, i: float, r0: float, dt: float) -> None:
    """What the BMS sees and does: voltages, limits, protection, its own SoC."""
    s[CURRENT_A] = i * p[PARALLEL]
    relaxed = s[V1] + s[V2]
    mean = ocv_at(ocv, s[SOC]) + relaxed + p[HYST_V] * s[HYST] + i * r0
    side = 1.0 if i >= 0.0 else -1.0  # the worst cell is the one that goes furthest
    drop = p[SPREAD_R] * abs(relaxed + i * r0)
    s[VOLTAGE_V] = p[SERIES] * mean
    low = ocv_at(ocv, s[SOC]) - ocv_at(ocv, s[SOC] - p[SPREAD_SOC])
    high = ocv_at(ocv, s[SOC] + p[SPREAD_SOC]) - ocv_at(ocv, s[SOC])
    s[CELL_MIN_V] = mean - low - (drop if side < 0.0 else -0.3 * drop) - 0.002
    s[CELL_MAX_V] = mean + high + (drop if side > 0.0 else -0.3 * drop) + 0.002
    if s[CELL_MIN_V] > mean:
        s[CELL_MIN_V] = mean
    if s[CELL_MAX_V] < mean:
        s[CELL_MAX_V] = mean
    # Limits: full between 10 °C and WARM_C, none at -10 °C and at HOT_C; by voltage over the last 60 mV.
    cold = min(1.0, max(0.0, (s[TEMP] + 10.0) / 20.0))
    warm = min(1.0, max(0.0, (p[HOT_C] - s[TEMP]) / (p[HOT_C] - p[WARM_C])))
    room = min(1.0, max(0.05, (p[MAX_V] - ocv_at(ocv, s[SOC] + p[SPREAD_SOC])) / 0.06))
    floor = min(1.0, max(0.0, s[SOC] / 0.1))
    cells_w = s[CONTACTOR] * warm * p[PARALLEL] * s[VOLTAGE_V]
    s[CHARGE_W] = min(p[MOST_W], cells_w * cold * room * p[CHARGE_A])
    s[DISCHARGE_W] = min(p[MOST_W], cells_w * floor * p[DISCHARGE_A])
    word = 0
    if s[CELL_MAX_V] > p[MAX_V] + 0.06:
        word |= OVER_VOLTAGE
    if s[CELL_MIN_V] < p[MIN_V] - 0.25:
        word |= UNDER_VOLTAGE
    if s[TEMP] > p[HOT_C]:
        word |= OVER_TEMPERATURE
    if s[CONTACTOR] > 0.0 and word != 0:
        s[CONTACTOR], s[TRIP_S] = 0.0, 0.0
    elif s[CONTACTOR] == 0.0:
        s[TRIP_S] += dt
        if word == 0 and s[TRIP_S] >= p[RESET_S] and s[TEMP] < p[WARM_C]:
            s[CONTACTOR] = 1.0  # by the crew
    if s[CELL_MAX_V] - s[CELL_MIN_V] > 0.15:
        word |= UNEVEN
    if s[CONTACTOR] == 0.0:
        word |= TRIPPED
    s[ALARM] = word
    # Its own SoC: a gain, an offset, corrected by the curve where it is steep and the pack has rested, and
    # when the best cell has been full.
    s[SOC_BMS] += (p[BMS_GAIN] * i + (p[BMS_OFFSET_A] if i != 0.0 else 0.0)) * dt / p[Q_AS]
    s[REST_S] = s[REST_S] + dt if abs(i) < 0.02 * p[CHARGE_A] else 0.0
    steep = abs(ocv_at(ocv, s[SOC] + 0.02) - ocv_at(ocv, s[SOC] - 0.02)) / 0.04
    if s[REST_S] > 1200.0 and steep > 0.25:
        s[SOC_BMS] += (s[SOC] + 0.006 - s[SOC_BMS]) * dt / 1800.0
    if s[CELL_MAX_V] >= p[MAX_V] - 0.003 and i > 0.0 and i < 0.25 * p[CHARGE_A] and s[SOC_BMS] < p[BMS_FULL]:
        s[SOC_BMS] += (p[BMS_FULL] - s[SOC_BMS]) * min(1.0, dt / 120.0)
    s[SOC_BMS] = min(1.0, max(0.0, s[SOC_BMS]))


@njit(cache=True, nogil=True)
def ship_load(p: Floats, s: Floats, second: float, left_s: float, back_s: float) -> tuple[float, int]:
    """What the ship asks from its pack while away or at berth without shore power.

    Args:
        left_s, back_s: When it left, and when it is back; it is away if left_s <= second < back_s.

    Returns: power [W], negative where the port across charges it; and 0 at sea, 1 hotel, 2 port across.
    """
    reserve = min(1.0, max(0.0, (s[SOC] - 0.5 * _RESERVE) / (0.5 * _RESERVE)))
    if not left_s <= second < back_s:
        return p[HOTEL_W] * reserve, 1
    gone, left = second - left_s, back_s - second
    under_way = min(p[CROSSING_S], 0.5 * (back_s - left_s))
    if gone >= under_way and left > under_way:
        if gone >= under_way + 300.0 and left > under_way + 300.0 and s[SOC] < p[FAR_SOC]:
            return -p[FAR_W] * s[CONTACTOR], 2
        return p[HOTEL_W] * reserve, 1
    into = gone if gone < under_way else under_way - left  # seconds into this crossing
    edge = min(into, under_way - into)
    speed = min(1.0, 0.3 + edge / 600.0)  # out of port and into port slowly
    sea = 1.0 + 0.05 * wave(second, 61.0) + 0.04 * wave(second, 907.0)
    return p[SEA_W] * speed * speed * sea * reserve, 0


@njit(cache=True, nogil=True)
def wave(second: float, period_s: float) -> float:
    """A smooth bump train in -1..1: parabolas, which are cheaper than a sine."""
    x = second / period_s
    x = 2.0 * (x - int(x))
    return 4.0 * x * (1.0 - x) if x < 1.0 else -4.0 * (x - 1.0) * (2.0 - x)
