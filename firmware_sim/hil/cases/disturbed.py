"""What the product makes of a device that fails. On the simulator only: a real device is never disturbed."""

import time

from drivers.errors import DeviceUnreachable
from firmware_sim.hil.agent import Gateway
from firmware_sim.hil.cases import case
from firmware_sim.hil.cases.common import alive, visits
from firmware_sim.hil.plc import Plc
from firmware_sim.hil.settings import Settings
from firmware_sim.hil.simulator import FaultSwitch
from firmware_sim.hil.trace import Trace, changes
from firmware_sim.hil.verdict import Check

FREEZE_S = 120.0  # of the device's time
AGAIN_S = 60.0  # real seconds: only a simulator is disturbed, and the machine may be busy


@case("STL-01")
def test_a_frozen_heartbeat_is_noticed(plc: Plc, fault: FaultSwitch, settings: Settings, check: Check) -> None:
    check.needs("heartbeat")
    if not changes(plc.watch(FREEZE_S)["heartbeat"].value):
        check.not_evaluated("no_visitor", seconds=FREEZE_S)
    _switch(fault, check, "frozen-heartbeat")
    seen: Trace = plc.watch(FREEZE_S)
    moved = changes(seen["heartbeat"].value)
    check.require(len(moved) <= 1 and seen.scans() > 3, "freeze_unseen", n=len(moved), scans=seen.scans())
    fault.off("frozen-heartbeat")
    after = plc.watch(FREEZE_S)
    beats = bool(changes(after["heartbeat"].value))
    if not beats and visits(after) and not alive(after, 0, after.scans() - 1):
        check.not_evaluated("no_visitor", seconds=FREEZE_S)  # the ship has left meanwhile
    check.require(beats, "freeze_stays", seconds=FREEZE_S)
    check.saw("freeze_seen", scans=seen.scans(), seconds=FREEZE_S)


@case("STL-02")
def test_a_silent_device_costs_one_deadline_and_comes_back(
    plc: Plc, fault: FaultSwitch, settings: Settings, check: Check
) -> None:
    name = "silence" if settings.profile.protocol == "modbus" else "refuse-connections"
    _switch(fault, check, name)
    started_s = time.monotonic()
    try:
        plc.scan()
    except DeviceUnreachable:
        pass
    else:
        check.fail("silence_answered", fault=name)
    took_s = time.monotonic() - started_s
    check.require(
        took_s <= 2 * settings.timeout_s + 1.5, "silence_hangs", seconds=took_s, limit=settings.timeout_s
    )
    fault.off(name)
    row = plc.scan()
    check.require(bool((row.quality == 0).any()), "silence_stays")
    check.saw("silence_seen", seconds=took_s)


@case("STL-03")
def test_the_agent_says_unknown_for_a_silent_device(
    gateway: Gateway, fault: FaultSwitch, settings: Settings, check: Check
) -> None:
    """Unknown is neither 0 nor the value from before."""
    if not gateway.wait_for(lambda rows: any(row.kind == settings.kind for row in rows), AGAIN_S):
        check.not_evaluated("agent_silent", n=0, seconds=AGAIN_S, broker=gateway.broker)
    name = "silence" if settings.profile.protocol == "modbus" else "refuse-connections"
    before = len(gateway.rows())
    _switch(fault, check, name)
    told = gateway.wait_for(
        lambda rows: any(row.kind == settings.kind and set(row.fields) == {"q"} for row in rows[before:]), AGAIN_S
    )
    check.require(told, "agent_keeps_quiet", seconds=AGAIN_S)
    # The batch that tells it may hold rows that were read before; what comes later must hold none.
    after = len(gateway.rows())
    time.sleep(1.0)
    made_up = [row for row in gateway.rows()[after:] if row.kind == settings.kind and set(row.fields) != {"q"}]
    check.require(not made_up, "agent_makes_up", n=len(made_up))
    fault.off(name)
    again = gateway.wait_for(
        lambda rows: any(row.kind == settings.kind and set(row.fields) != {"q"} for row in rows[after:]), AGAIN_S
    )
    check.require(again, "agent_stays_away", seconds=AGAIN_S)
    check.saw("agent_says_unknown")


def _switch(fault: FaultSwitch, check: Check, name: str) -> None:
    try:
        fault.on(name)
    except ValueError as error:
        check.not_evaluated("no_such_fault", fault=name, reason=str(error)[:120])
