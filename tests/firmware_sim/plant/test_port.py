"""A delivery point: what its state machines may do, what its meters must add up to, and who gets the power."""

from dataclasses import replace
from itertools import pairwise
from math import inf

import numpy as np
import pytest

from firmware_sim.plant import pack as pk
from firmware_sim.plant import supply as sp
from firmware_sim.plant import tower as tw
from firmware_sim.plant.charger import State
from firmware_sim.plant.pack import Floats, PackSpec
from firmware_sim.plant.port import BerthSpec, CallSpec, Moment, PointSpec, Port
from firmware_sim.plant.tower import PRESETS, TowerSpec

NS = 1_000_000_000
SHIP = PackSpec(soc=0.4, sea_w=8e6, crossing_s=1800.0)
MAY_FOLLOW = {  # state -> what may come next; ESTOP and FAULT may follow any
    0: {1}, 1: {2}, 2: {3, 11}, 3: {4}, 4: {5, 10}, 5: {6}, 6: {7, 8, 9, 90}, 7: {8, 9, 90}, 8: {9, 90}, 9: {10},
    10: {11}, 11: {0}, 90: {6, 9}, 98: {2, 4, 10, 11, 99}, 99: {2, 4, 10, 11, 98},
}  # fmt: skip


def port(
    *towers: TowerSpec, limit_w: float | None = None, moments: tuple[Moment, ...] = (), stay_s: int = 2400,
    ships: tuple[PackSpec, ...] = (), late_s: float = 0.0, seed: int = 1,
) -> Port:  # fmt: skip
    """Berths at which a ship each arrives at second 600."""
    names = [f"SHIP {n}" for n in range(len(towers))]
    berths = [
        BerthSpec(f"berth-{n}", tower, [CallSpec(name, 600, 600 + stay_s)], late_s)
        for n, (name, tower) in enumerate(zip(names, towers, strict=True))
    ]
    fleet = dict(zip(names, ships or [SHIP] * len(towers), strict=True))
    return Port(PointSpec(limit_w=limit_w), berths, fleet, seed, moments=moments)


def run(one: Port, seconds: int) -> Floats:
    trace = np.zeros((seconds, one.columns))
    one.step(seconds, trace)
    return trace


def column(one: Port, berth: int, what: int, trace: Floats) -> Floats:
    return trace[:, one.column(berth, what)]


def random_port(seed: int) -> Port:
    rng = np.random.default_rng(seed)
    towers, ships = [], []
    for _ in range(int(rng.integers(1, 4))):
        preset = PRESETS[str(rng.choice(list(PRESETS)))]
        towers.append(replace(preset, up_s=float(rng.uniform(5, 90)), target_soc=float(rng.uniform(0.6, 0.98))))
        ships.append(
            PackSpec(
                chemistry=str(rng.choice(["nmc", "lfp", "lto"])), soc=float(rng.uniform(0.05, 0.95)),
                energy_wh=float(rng.uniform(3e6, 5e7)), temp_c=float(rng.uniform(0, 40)),
                sea_w=float(rng.uniform(0, 1e7)), crossing_s=1800.0, hotel_w=float(rng.uniform(5e4, 8e5)),
            )
        )  # fmt: skip
    moments = []
    for _ in range(int(rng.integers(0, 4))):
        kind = int(rng.choice([sp.EV_ESTOP, sp.EV_FAULT, sp.EV_PAUSE, sp.EV_OUTAGE, sp.EV_LIMIT]))
        start = float(rng.integers(500, 2800))
        berth = int(rng.integers(0, len(towers))) if rng.random() < 0.7 else None
        end = start + float(rng.integers(1, 900))
        moments.append(Moment(kind, start, end, berth, float(rng.uniform(2e6, 4e7))))
    limit = float(rng.uniform(6e6, 9e7)) if rng.random() < 0.8 else None
    stay = int(rng.integers(900, 2600))
    return port(
        *towers, limit_w=limit, moments=tuple(moments), stay_s=stay, ships=tuple(ships), late_s=200.0, seed=seed
    )


def test_a_thousand_ports_keep_their_rules_and_their_energy() -> None:
    """Breaker only with the safety loop, no power without breaker, no step of state that the machine has not."""
    seen: set[int] = set()
    for seed in range(1000):
        one = random_port(seed)
        before_j = one.stored_j()
        trace = run(one, 3600)
        limit = np.full(3600, one.point[sp.LIMIT_W])
        for moment in one.moments:
            if moment.kind == sp.EV_LIMIT:
                part = slice(int(moment.start_s), int(moment.end_s))
                limit[part] = np.minimum(limit[part], moment.value)
        settled = np.maximum.reduce([np.roll(limit, k) for k in range(15)])  # it ramps down within 12 s
        assert (trace[:, sp.TR_POINT_W] <= settled).all(), seed
        for n, t in enumerate(one.towers):
            state = column(one, n, sp.TR_STATE, trace).astype(int)
            plug = column(one, n, sp.TR_PLUG_W, trace)
            breaker, loop = column(one, n, sp.TR_BREAKER, trace) > 0, column(one, n, sp.TR_LOOP, trace) > 0
            seen |= set(state.tolist())
            assert not (breaker & ~loop).any(), seed
            assert (plug[~breaker] == 0.0).all(), seed
            assert (plug[state >= State.ESTOP] == 0.0).all(), seed
            for a, b in {(int(a), int(b)) for a, b in pairwise(state) if a != b}:
                assert b in MAY_FOLLOW[a] or b >= State.ESTOP, (seed, a, b)
            assert np.diff(plug).max() <= 1.03 * t[tw.UP_W_S] + 2e4, seed
            assert plug.max() <= 1.001 * t[tw.RATED_W], seed
        soc = one.ships[:, pk.SOC]
        assert (soc > -0.01).all() and (soc < 1.005).all(), seed
        balance = one.balance()
        assert abs(balance["open_j"]) <= 1e-6 * balance["grid_j"]
        heat, used = balance["heat_j"], balance["used_j"]
        into_packs = balance["pack_j"] + balance["hotel_j"]
        stored = one.stored_j() - before_j
        assert into_packs - used == pytest.approx(stored + heat, rel=1e-6, abs=1e-6 * balance["grid_j"]), seed
    assert seen == {int(state) for state in State}


def test_energy_of_a_call_is_battery_hotel_and_losses() -> None:
    """Grid = what the battery's own state gained + heat + hotel + transformer, converter, cable, drives."""
    one = port(PRESETS["30mw"])
    run(one, 600)
    stored, heat, hotel = one.stored_j(), one.ships[:, pk.HEAT_J].sum(), one.ships[:, pk.HOTEL_J].sum()
    first = one.balance()
    run(one, 2400)
    last = one.balance()
    d = {key: last[key] - first[key] for key in last}
    battery = one.stored_j() - stored + one.ships[:, pk.HEAT_J].sum() - heat
    hotel = one.ships[:, pk.HOTEL_J].sum() - hotel
    losses = d["transformer_j"] + d["converter_j"] + d["cable_j"] + d["own_j"]
    assert d["grid_j"] == pytest.approx(battery + hotel + losses, rel=1e-6)
    assert 0.90 < battery / d["grid_j"] < 0.97


def test_a_tower_goes_through_its_states_in_order_and_times() -> None:
    one = port(PRESETS["30mw"])
    state = column(one, 0, sp.TR_STATE, run(one, 3600)).astype(int)
    changes = [(int(s) + 1, State(state[s + 1]).name) for s in np.flatnonzero(np.diff(state))]
    assert [name for _, name in changes] == [
        "APPROACH", "DOCKED", "CONNECTING", "HANDSHAKE", "PRECHARGE", "RAMP_UP", "CC", "RAMP_DOWN",
        "DISCONNECTING", "COMPLETED", "IDLE",
    ]  # fmt: skip
    at = {name: second for second, name in changes}
    assert (at["APPROACH"], at["DOCKED"]) == (420, 600)
    assert 30 <= at["RAMP_UP"] - at["DOCKED"] <= 180
    assert at["CC"] - at["RAMP_UP"] == pytest.approx(60, abs=3)
    assert at["COMPLETED"] < 3000 <= at["IDLE"]  # parked before the ship leaves


def test_constant_voltage_follows_when_the_pack_is_nearly_full() -> None:
    one = port(replace(PRESETS["30mw"], target_soc=0.999), ships=(replace(SHIP, soc=0.8),))
    trace = run(one, 3600)
    state, plug = column(one, 0, sp.TR_STATE, trace).astype(int), column(one, 0, sp.TR_PLUG_W, trace)
    cv = np.flatnonzero(state == State.CV)
    assert len(cv) > 300
    assert (np.diff(plug[cv[10:]]) <= 1.0).all()  # it only falls
    assert one.ships[0, pk.CELL_MAX_V] <= one.packs[0, pk.MAX_V] + 0.005


def test_an_emergency_stop_cuts_the_power_within_a_second_and_the_charge_goes_on_after_the_reset() -> None:
    one = port(PRESETS["10mw"], moments=(Moment(sp.EV_ESTOP, 1200, 1260, 0),))
    trace = run(one, 1800)
    plug, state = column(one, 0, sp.TR_PLUG_W, trace), column(one, 0, sp.TR_STATE, trace)
    assert plug[1199] > 9e6
    assert (plug[1200:1310] == 0.0).all()
    assert (state[1200:1300] == State.ESTOP).all()
    assert plug[1500] > 9e6


def test_a_welded_breaker_breaks_the_rule_on_purpose() -> None:
    one = port(PRESETS["10mw"], moments=(Moment(sp.EV_ESTOP, 1200, 1260, 0), Moment(sp.EV_WELD, 1000, 2000, 0)))
    trace = run(one, 1800)
    bad = (column(one, 0, sp.TR_BREAKER, trace) > 0) & (column(one, 0, sp.TR_LOOP, trace) == 0)
    assert bad[1200:1260].all()
    assert (column(one, 0, sp.TR_PLUG_W, trace)[1200:1260] > 9e6).all()
    assert (column(one, 0, sp.TR_STATE, trace)[1200:1260] == State.ESTOP).all()
    one.advance(1800 * NS)


def test_an_outage_is_a_fault_of_the_tower_and_nothing_flows() -> None:
    one = port(PRESETS["10mw"], moments=(Moment(sp.EV_OUTAGE, 1200, 1300),))
    trace = run(one, 1800)
    assert (trace[1200:1300, sp.TR_POINT_W] == 0.0).all()
    assert (column(one, 0, sp.TR_STATE, trace)[1200:1340] == State.FAULT).all()
    assert column(one, 0, sp.TR_PLUG_W, trace)[1600] > 9e6


def test_a_pause_ramps_down_and_up_again() -> None:
    one = port(PRESETS["10mw"], moments=(Moment(sp.EV_PAUSE, 1200, 1300, 0),))
    trace = run(one, 1800)
    plug = column(one, 0, sp.TR_PLUG_W, trace)
    assert (plug[1220:1300] == 0.0).all()
    assert (column(one, 0, sp.TR_STATE, trace)[1202:1300] == State.PAUSED).all()
    assert plug[1400] > 9e6


def test_three_towers_share_a_limit_and_the_small_one_gets_all_it_wants() -> None:
    one = port(PRESETS["30mw"], PRESETS["30mw"], PRESETS["4mw"], limit_w=40e6)
    trace = run(one, 1500)
    a, b, c = (column(one, n, sp.TR_PLUG_W, trace)[1400] for n in range(3))
    assert c == pytest.approx(4e6, rel=0.02)
    assert a == pytest.approx(b, rel=0.01)
    assert 38.5e6 < trace[1400, sp.TR_POINT_W] <= 40e6


def test_who_gets_too_little_pauses_and_comes_back() -> None:
    moments = (Moment(sp.EV_LIMIT, 1200, 1500, None, 1.2e6),)
    one = port(PRESETS["30mw"], limit_w=40e6, moments=moments)
    state = column(one, 0, sp.TR_STATE, run(one, 2000)).astype(int)
    assert (state[1230:1500] == State.PAUSED).all()
    assert state[1700] == State.CC


def test_ships_come_and_go_and_the_shore_plc_keeps_the_last_of_the_bms() -> None:
    berth = BerthSpec("berth-1", PRESETS["10mw"], [CallSpec("A", 600, 2400), CallSpec("B", 3000, 4800)])
    one = Port(PointSpec(), [berth], {"A": SHIP, "B": replace(SHIP, soc=0.6, chemistry="lfp")}, 1)
    assert one.battery(0, 0)["vessel"] == ""
    assert one.battery(0, 0)["soc_bms"] is None
    alive = [one.battery(0, s * NS) for s in (1000, 1001)]
    assert alive[0]["vessel"] == "A"
    assert (alive[0]["heartbeat"], alive[1]["heartbeat"]) == (1000, 1001)
    kept = [one.battery(0, s * NS) for s in (2450, 2900)]
    assert kept[0] == kept[1]
    assert kept[0]["vessel"] == "A" and int(str(kept[0]["heartbeat"])) < 2400
    assert not one.charger(0, 2900 * NS)["mated"]
    later = one.battery(0, 3500 * NS)
    assert later["vessel"] == "B" and later["heartbeat"] == 3500


def test_an_ac_plug_shows_no_pack_voltage_and_a_dc_plug_does() -> None:
    ac, dc = port(PRESETS["10mw"]), port(PRESETS["7mw"])
    assert ac.battery(0, 1200 * NS)["pack_voltage_v"] is None
    assert 800 < float(str(dc.battery(0, 1200 * NS)["pack_voltage_v"])) < 1200
    assert ac.charger(0, 1200 * NS)["voltage_v"] == 10_500.0
    shown = dc.charger(0, 1200 * NS)
    assert float(str(shown["voltage_v"])) * float(str(shown["current_a"])) == pytest.approx(
        shown["power_w"], rel=1e-6
    )


def test_what_a_port_does_depends_on_the_time_only_not_on_who_asks() -> None:
    often, once = random_port(7), random_port(7)
    for t_ns in range(0, 1500 * NS, 777_777_777):
        often.charger(0, t_ns)
        often.battery(0, t_ns)
    assert often.charger(0, 1500 * NS) == once.charger(0, 1500 * NS)
    assert often.energy_j(None, 900 * NS) == once.energy_j(None, 900 * NS)


def test_presets_have_the_sizes_of_the_field_and_the_largest_a_pack_to_match() -> None:
    assert [round(t.rated_w / 1e6) for t in PRESETS.values()] == [4, 7, 10, 30]
    one = port(PRESETS["30mw"], ships=(replace(SHIP, energy_wh=40e6, soc=0.3),))
    trace = run(one, 3000)
    assert column(one, 0, sp.TR_PLUG_W, trace).max() == pytest.approx(30e6, rel=0.001)
    assert 15e6 < one.berths[0, tw.PLUG_J] / 3600.0 < 26e6  # Wh of a call of 40 minutes


def test_what_befalls_a_tower_at_run_time_begins_and_ends() -> None:
    one = port(PRESETS["10mw"])
    one.advance(1200 * NS)
    one.befall("tower", [Moment(sp.EV_ESTOP, 1200.4, inf, 0)])
    one.advance(1201 * NS)
    assert one.charger(0, 1201 * NS)["state"] == State.CC, "it began within that second"
    one.advance(1202 * NS)
    assert one.charger(0, 1202 * NS)["state"] == State.ESTOP
    one.befall("tower", [Moment(sp.EV_ESTOP, 1200.4, 1203.0, 0)])
    assert one.charger(0, 1400 * NS)["state"] == State.CC


def test_the_timetable_comes_again_every_day_with_its_own_lateness() -> None:
    berth = BerthSpec("berth-1", PRESETS["10mw"], [CallSpec("A", 23 * 3600, 1800)], 600.0)
    one = Port(PointSpec(), [berth], {"A": SHIP}, 3, midnight_s=3600)
    days = [one.calls_of_day(0, day)[0] for day in range(3)]
    assert [round((d[2] - days[0][2]) / 86_400, 6) for d in days] == [0, 1, 2]
    assert len({d[1] % 86_400 for d in days}) == 3
    assert all(0 <= d[1] % 86_400 - (22 * 3600) <= 600 for d in days)
