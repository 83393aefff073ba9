"""The device through the product: a real agent reads it and publishes to a broker of the kit's own."""

import numpy as np

from firmware_sim.hil.agent import AgentRow, Gateway, origins
from firmware_sim.hil.cases import case
from firmware_sim.hil.settings import Settings
from firmware_sim.hil.trace import Trace
from firmware_sim.hil.verdict import Check

WAIT_S = 20.0
ROWS = 5
SLACK = 0.05  # of what was seen: the agent reads later than the watch


@case("GTW-01")
def test_the_agent_reads_and_publishes_as_a_test(gateway: Gateway, settings: Settings, check: Check) -> None:
    came = gateway.wait_for(lambda rows: len(_of(rows, settings)) >= ROWS, WAIT_S)
    rows = _of(gateway.rows(), settings)
    check.require(came, "agent_silent", n=len(rows), seconds=WAIT_S, broker=gateway.broker)
    check.require(
        origins(gateway.rows()) == {"test"}, "wrong_origin", origins=", ".join(sorted(origins(gateway.rows())))
    )
    check.require(not gateway.broken, "broken_batch", problem=gateway.broken[0] if gateway.broken else "")
    check.saw("agent_publishes", n=len(rows), broker=gateway.broker, receipts=gateway.receipts)


@case("GTW-02")
def test_the_agent_knows_every_live_point(
    gateway: Gateway, settings: Settings, trace: Trace, check: Check
) -> None:
    rows = _heard(gateway, settings, check)
    seen = set().union(*(row.fields for row in rows))
    wanted = [p.name for p in settings.profile.points if p.scan == "live" and np.any(trace[p.name].good)]
    missing = [name for name in wanted if name not in seen]
    check.require(not missing, "agent_misses", points=", ".join(missing))
    check.saw("agent_knows", n=len(wanted))


@case("GTW-03")
def test_the_agent_sees_the_values_that_were_read_directly(
    gateway: Gateway, settings: Settings, trace: Trace, check: Check
) -> None:
    """Within what the watch saw, and a counter not below it: another decoding would be far off."""
    rows = _heard(gateway, settings, check)
    compared = 0
    for point in settings.profile.points:
        known = trace[point.name].known if point.type != "string" else np.empty(0)
        values = [row.fields[point.name] for row in rows if point.name in row.fields]
        if not len(known) or not values or "heartbeat" in point.name:
            continue
        value = float(np.median(np.array(values, np.float64)))
        low, high = float(np.min(known)), float(np.max(known))
        slack = SLACK * max(abs(low), abs(high), high - low) + 2 * abs(point.scale)
        low, high = (
            (low, np.inf) if point.name.endswith(("_wh", "_varh", "_total")) else (low - slack, high + slack)
        )
        check.require(low <= value <= high, "agent_differs", point=point.name, value=value, low=low, high=high)
        compared += 1
    check.saw("agent_agrees", n=compared)


def _heard(gateway: Gateway, settings: Settings, check: Check) -> list[AgentRow]:
    gateway.wait_for(lambda rows: len(_of(rows, settings)) >= ROWS, WAIT_S)
    rows = _of(gateway.rows(), settings)
    if not rows:
        check.not_evaluated("agent_silent", n=0, seconds=WAIT_S, broker=gateway.broker)
    return rows


def _of(rows: list[AgentRow], settings: Settings) -> list[AgentRow]:
    """Rows of the device itself with something known in them."""
    return [row for row in rows if row.kind == settings.kind and any(name != "q" for name in row.fields)]
