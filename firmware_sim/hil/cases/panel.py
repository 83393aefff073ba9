"""Emergency stops, one case each, pressed by a person. Runs only with `--panel`."""

import pytest

from firmware_sim.hil.cases import case
from firmware_sim.hil.panel import Dialogue, meaning, stopped, why_not_idle
from firmware_sim.hil.plc import Plc
from firmware_sim.hil.settings import Settings
from firmware_sim.hil.texts import Texts
from firmware_sim.hil.trace import Trace
from firmware_sim.hil.verdict import Check, clock_time

IDLE_S, PRESS_S, RESET_S = 3.0, 60.0, 180.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    from firmware_sim.hil.plugin import SETTINGS

    buttons = metafunc.config.stash[SETTINGS].panel.buttons if SETTINGS in metafunc.config.stash else ()
    metafunc.parametrize("button", buttons)


@case("PAN-01")
def test_an_emergency_stop_shows_and_is_released(
    button: str, plc: Plc, dialogue: tuple[Dialogue, Texts], settings: Settings, check: Check
) -> None:
    check.subject = button
    talk, texts = dialogue
    if not ("estop" in plc.profile.index or "state" in plc.profile.index):
        check.not_evaluated("no_points", points="estop, state")
    _must_be_idle(plc, check)
    if talk.ask(texts("panel.ask_button", button=button)) != button:
        check.not_evaluated("not_confirmed", button=button)
    _must_be_idle(plc, check)  # the answer may have taken its time
    empty = Trace(plc.profile)
    pressed_ns = plc.clock.now_ns()
    talk.say(texts("panel.press", button=button))
    seen = plc.watch(PRESS_S, until=lambda row: stopped(empty, row))
    rows = seen.rows.get("live", [])
    shown = [row for row in rows if stopped(empty, row)]
    if not shown:
        check.fail("estop_unseen", button=button, seconds=PRESS_S)
    again = plc.watch(2 * settings.interval_s + 0.5)
    check.require(
        all(stopped(empty, row) for row in again.rows.get("live", [])), "estop_unseen", button=button, seconds=2.0
    )
    seconds = (shown[0].t_ns - pressed_ns) / 1e9
    talk.say(texts("panel.reset", button=button))
    after = plc.watch(
        RESET_S,
        until=lambda row: (
            not stopped(empty, row)
            and meaning(empty, "estop" if "estop" in plc.profile.index else "state", row) != "unknown"
        ),
    )
    released = [row for row in after.rows.get("live", []) if not stopped(empty, row)]
    check.require(bool(released), "estop_stays", button=button, seconds=RESET_S)
    check.saw("estop_seen", button=button, seconds=seconds, at=clock_time(shown[0].t_ns))


def _must_be_idle(plc: Plc, check: Check) -> None:
    trace = plc.watch(IDLE_S)
    found = why_not_idle(trace)
    if found is not None:
        check.not_evaluated("not_idle", point=found[0], value=found[1])
