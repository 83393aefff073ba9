"""A pack: its energy, its voltage, its heat, and a BMS that protects it and is a little wrong about it."""

from dataclasses import replace

import numpy as np
import pytest

from firmware_sim.plant import pack as pk
from firmware_sim.plant.chemistry import CHEMISTRIES
from firmware_sim.plant.pack import PackSpec

SPEC = PackSpec(soc=0.5)


class Rig:
    """A pack on the bench, driven by current."""

    def __init__(self, spec: PackSpec) -> None:
        cell = CHEMISTRIES[spec.chemistry]
        self.p, self.s, self.ocv, self.area = spec.parameters(), spec.state(), cell.ocv(), cell.ocv_area()
        self.full_a = self.p[pk.Q_AS] / 3600.0 * self.p[pk.PARALLEL]  # 1 C

    def run(self, c_rate: float, seconds: float, dt: float = 1.0) -> float:
        """Returns: energy into the terminals. [J]"""
        return sum(
            pk.pack_step(self.p, self.ocv, self.area, self.s, c_rate * self.full_a, dt)
            for _ in range(round(seconds / dt))
        )

    def stored_j(self) -> float:
        p, s = self.p, self.s
        cell = p[pk.Q_AS] * pk.area_at(self.ocv, self.area, s[pk.SOC])
        cell += 0.5 * (p[pk.TAU1] / p[pk.R1] * s[pk.V1] ** 2 + p[pk.TAU2] / p[pk.R2] * s[pk.V2] ** 2)
        return float(p[pk.SERIES] * p[pk.PARALLEL] * cell)


@pytest.mark.parametrize("chemistry", CHEMISTRIES)
def test_a_pack_has_the_energy_and_the_voltage_that_were_asked_for(chemistry: str) -> None:
    spec = replace(SPEC, chemistry=chemistry, energy_wh=42e6, voltage_v=950.0)
    cell = CHEMISTRIES[chemistry]
    p = spec.parameters()
    assert p[pk.SERIES] * cell.mean_v == pytest.approx(950.0, rel=0.01)
    energy_wh = p[pk.SERIES] * p[pk.PARALLEL] * p[pk.Q_AS] / 3600.0 * cell.ocv_area()[-1]
    assert energy_wh == pytest.approx(42e6, rel=0.01)


@pytest.mark.parametrize("chemistry", CHEMISTRIES)
@pytest.mark.parametrize("dt", [1.0, 10.0])
def test_what_goes_in_is_stored_or_heat_whatever_the_step(chemistry: str, dt: float) -> None:
    rig = Rig(replace(SPEC, chemistry=chemistry))
    before, total = rig.stored_j(), 0.0
    for c_rate, seconds in ((1.0, 900), (0.0, 600), (-1.5, 1200), (0.3, 300), (-0.01, 50)):
        total += rig.run(c_rate, seconds, dt)
    assert total - rig.s[pk.HEAT_J] == pytest.approx(rig.stored_j() - before, rel=1e-9, abs=1.0)
    assert rig.s[pk.HEAT_J] > 0.0


def test_the_branch_of_an_lfp_cell_is_remembered_and_nmc_hardly_has_one() -> None:
    gaps = {}
    for chemistry in ("lfp", "nmc"):
        rested = []
        for sign in (1.0, -1.0):
            rig = Rig(replace(SPEC, chemistry=chemistry, soc=0.5 - 0.2 * sign))
            rig.run(sign, 720 / (CHEMISTRIES[chemistry].coulombic if sign > 0 else 1.0), 0.5)
            rig.run(0.0, 6 * 3600, 10.0)
            rested.append(rig.s[pk.VOLTAGE_V] / rig.p[pk.SERIES] - pk.ocv_at(rig.ocv, rig.s[pk.SOC]))
        gaps[chemistry] = rested[0] - rested[1]
    assert gaps["lfp"] == pytest.approx(0.024, abs=0.002)
    assert gaps["nmc"] < 0.005


def test_voltage_relaxes_with_both_time_constants() -> None:
    rig = Rig(SPEC)
    rig.run(1.0, 600)
    pair1, pair2 = rig.s[pk.V1], rig.s[pk.V2]
    rig.run(0.0, 140)
    assert rig.s[pk.V1] == pytest.approx(pair1 * np.exp(-140 / 12), rel=1e-6)
    assert rig.s[pk.V2] == pytest.approx(pair2 * np.exp(-1.0), rel=1e-6)


def test_constant_voltage_keeps_the_best_cell_at_its_limit() -> None:
    rig = Rig(replace(SPEC, soc=0.85))
    highest, currents = 0.0, []
    for _ in range(2400):
        current = min(pk.charge_ceiling(rig.p, rig.ocv, rig.s), rig.full_a)
        pk.pack_step(rig.p, rig.ocv, rig.area, rig.s, current, 1.0)
        highest, currents = max(highest, rig.s[pk.CELL_MAX_V]), [*currents, current]
    assert highest == pytest.approx(rig.p[pk.MAX_V], abs=0.006)
    assert currents[0] == rig.full_a
    assert currents[-1] < 0.1 * rig.full_a


def test_a_pack_that_is_overcharged_opens_its_contactor_and_the_crew_closes_it_later() -> None:
    rig = Rig(replace(SPEC, soc=0.95))
    rig.run(2.0, 60)
    assert rig.s[pk.CONTACTOR] == 0.0
    assert int(rig.s[pk.ALARM]) & (pk.OVER_VOLTAGE | pk.TRIPPED)
    assert rig.s[pk.CHARGE_W] == 0.0
    rig.run(0.0, 4000)
    assert (rig.s[pk.CONTACTOR], int(rig.s[pk.ALARM]) & pk.TRIPPED) == (1.0, 0)


def test_heat_warms_the_pack_and_the_coolant_takes_it_away() -> None:
    rig = Rig(replace(SPEC, soc=0.2, temp_c=18.0))
    rig.run(2.0, 900)
    warm = rig.s[pk.TEMP]
    assert 22.0 < warm < 40.0
    rig.run(0.0, 2400)
    assert rig.s[pk.TEMP] - 18.0 == pytest.approx(
        (warm - 18.0) * np.exp(-1.0), rel=0.06
    )  # the RC pairs still give theirs


def test_a_bms_permits_no_more_than_the_ships_cables_carry() -> None:
    rig = Rig(replace(SPEC, temp_c=20.0, soc=0.5, most_w=35e6))
    assert rig.s[pk.CHARGE_W] == rig.s[pk.DISCHARGE_W] == 35e6


def test_a_cold_or_a_hot_pack_takes_less() -> None:
    temps_c = (-12.0, 0.0, 20.0, 50.0, 60.0)
    limits = {t: Rig(replace(SPEC, temp_c=t, most_w=1e9)).s[pk.CHARGE_W] for t in temps_c}
    assert limits[-12.0] == limits[60.0] == 0.0
    assert 0.0 < limits[0.0] < limits[20.0]
    assert 0.0 < limits[50.0] < limits[20.0]


def test_the_bms_is_wrong_by_its_offset_its_gain_and_is_put_right_when_full() -> None:
    rig = Rig(replace(SPEC, soc=0.4, bms_offset=0.03, bms_gain=1.01))
    rig.run(0.5, 1800)
    wrong = rig.s[pk.SOC_BMS] - rig.s[pk.SOC]
    assert 0.03 < wrong < 0.04
    low = Rig(replace(SPEC, soc=0.93, bms_offset=-0.08))
    for _ in range(3000):
        current = min(pk.charge_ceiling(low.p, low.ocv, low.s), low.full_a)
        pk.pack_step(low.p, low.ocv, low.area, low.s, current, 1.0)
    assert low.s[pk.SOC_BMS] == pytest.approx(0.99, abs=0.012)


def test_the_wider_the_cells_lie_the_earlier_they_meet_their_limits() -> None:
    narrow, wide = (Rig(replace(SPEC, spread=spread)) for spread in (0.0, 0.01))
    for rig in (narrow, wide):
        rig.run(1.0, 60)
    assert wide.s[pk.CELL_MAX_V] - wide.s[pk.CELL_MIN_V] > narrow.s[pk.CELL_MAX_V] - narrow.s[pk.CELL_MIN_V] + 0.03
    assert pk.charge_ceiling(wide.p, wide.ocv, wide.s) < pk.charge_ceiling(narrow.p, narrow.ocv, narrow.s)
