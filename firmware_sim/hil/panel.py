"""Steps that a person takes at the panel. Off by default; the kit reads, the person acts, one button at a time."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from drivers.row import Row
from firmware_sim.hil.run import PanelPeople
from firmware_sim.hil.settings import Settings, SettingsError
from firmware_sim.hil.texts import Texts
from firmware_sim.hil.trace import Trace

KINDS = ("charger", "lock")  # those with an emergency stop that a PLC shows


@dataclass(frozen=True)
class Dialogue:
    """How the kit talks to the person. `ask` returns what was typed."""

    say: Callable[[str], None]
    ask: Callable[[str], str]


def at_terminal() -> Dialogue:
    """Raises: SettingsError, if no person can be there: a script must not confirm an emergency stop."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SettingsError("--panel: stdin and stderr are no terminal; a person has to confirm each step at one")

    def ask(question: str) -> str:
        sys.stderr.write(question)
        sys.stderr.flush()
        return sys.stdin.readline().strip()

    return Dialogue(lambda text: print(text, file=sys.stderr, flush=True), ask)


def introduce(settings: Settings, texts: Texts, dialogue: Dialogue) -> PanelPeople:
    """Who is in charge, and under which permit. Raises: SettingsError if one is not given."""
    if settings.kind not in KINDS:
        raise SettingsError(f"--panel: a {settings.kind} has no emergency stop; it is for {' and '.join(KINDS)}")
    if settings.target.simulated:
        raise SettingsError("--panel: nobody can press a button of the simulator; give a real --target")
    if not settings.panel.buttons:
        raise SettingsError("--panel: name each emergency stop with --estop, as in --estop 'quay north'")
    dialogue.say(texts("panel.intro", device=settings.device))
    person, permit = dialogue.ask(texts("panel.ask_name")), dialogue.ask(texts("panel.ask_permit"))
    if len(person.strip()) < 3 or not permit.strip():
        raise SettingsError(
            f"--panel: name {person!r}, permit {permit!r}; both are needed: "
            "a name of 3 letters or more, and a permit number"
        )
    return PanelPeople(person.strip(), permit.strip())


def why_not_idle(trace: Trace) -> tuple[str, str] | None:
    """The point that forbids a step, with its value; None if idle and no vessel in every scan, all known.

    A lock is idle with nothing moving and all sluices closed; a charger in state IDLE.
    """
    profile = trace.profile
    wanted: dict[str, tuple[str, ...]] = {
        "estop": ("0",),
        "vessel_present": ("0",),
        "mated": ("0",),
        "state": ("IDLE",),
    }
    for point in profile.points:
        allowed = wanted.get(point.name)
        if point.name.startswith("sluice_") and point.name.endswith("_state"):
            allowed = ("CLOSED",)
        if point.name.startswith("gate_") and point.name.endswith("_state"):
            allowed = ("CLOSED", "OPEN")
        if allowed is None:
            continue
        for row in trace.rows.get(point.scan, []):
            shown = meaning(trace, point.name, row)
            if shown not in allowed:
                return point.name, shown
    needed = {"lock": "vessel_present", "charger": "mated"}[profile.kind]
    if needed not in profile.index or trace.scans() < 2:
        return needed, "unknown"
    return None


def meaning(trace: Trace, name: str, row: Row) -> str:
    """What a point says in a row, as a code's name or a whole number."""
    i = trace.profile.index[name]
    value = float(row.values[i])
    if value != value:
        return "unknown"
    return trace.profile.points[i].codes.get(str(int(value)), str(int(value)))


def stopped(trace: Trace, row: Row) -> bool:
    """Whether the PLC shows an emergency stop."""
    if "estop" in trace.profile.index:
        return meaning(trace, "estop", row) == "1"
    return meaning(trace, "state", row) == "ESTOP"
