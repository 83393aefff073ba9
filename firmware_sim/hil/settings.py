"""What a run is asked to do: the target, the device's profile, the limits it is judged by. Checked as a whole."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, get_args

from drivers.errors import ProfileError
from drivers.profile import Kind, Profile, load_profile
from firmware_sim.hil.limits import Limits
from firmware_sim.scenario import ScenarioError, load_scenario

T = TypeVar("T")
KINDS: tuple[str, ...] = get_args(Kind)
LANGS = ("fr", "en")
FORMS = "sim, modbus://HOST:502/1 or opc.tcp://HOST:4840/PATH"
SCENARIO = "demo-port"
SIM_WATCH_S = {"lock": 5400.0, "charger": 5400.0, "meter": 3600.0, "battery": 3600.0}  # simulated
REAL_WATCH_S = 60.0
SIM_INTERVAL_S, REAL_INTERVAL_S = 2.0, 1.0
SIM_SPEED = 240.0


class SettingsError(ValueError):
    """A run cannot start as asked. Lists every problem, one a line."""


class UnreachableError(RuntimeError):
    """The target does not answer, or is in use: nothing was tested."""


@dataclass(frozen=True)
class Target:
    """Where the device is. `simulated`: the kit starts the simulator itself, and addresses come from it."""

    text: str
    simulated: bool = False
    host: str = ""
    port: int = 0
    unit_id: int = 1
    url: str = ""

    @property
    def protocol(self) -> str:
        return "opcua" if self.url else "modbus"


@dataclass(frozen=True)
class Panel:
    """Steps that a person takes at the panel. Off unless asked for."""

    wanted: bool = False
    buttons: tuple[str, ...] = ()  # of emergency stop, each a case of its own


@dataclass(frozen=True)
class Settings:
    """A run, complete. `watch_s` and `interval_s` are seconds of the target: simulated on the simulator. [s]"""

    kind: str
    target: Target
    profile: Profile
    profile_name: str
    device: str
    watch_s: float
    interval_s: float
    timeout_s: float = 1.0
    speed: float = 1.0
    scenario: str = SCENARIO
    epoch_ns: int = 0  # of the scenario
    faults: tuple[tuple[str, dict[str, str]], ...] = ()
    limits: Limits = field(default_factory=Limits)
    through_gateway: bool = True
    panel: Panel = Panel()


@dataclass(frozen=True)
class Asked:
    """The options as they were given, before any check."""

    kind: str
    target: str
    profile: str | None = None
    device: str | None = None
    watch_s: float | None = None
    interval_s: float | None = None
    timeout_s: float = 1.0
    speed: float = SIM_SPEED
    scenario: str = SCENARIO
    faults: Sequence[str] = ()
    limits: Sequence[str] = ()
    through_gateway: bool = True
    panel: bool = False
    buttons: Sequence[str] = ()


def settings_of(asked: Asked) -> Settings:
    """Check what was asked for. Raises: SettingsError, with one line per problem."""
    problems: list[str] = []
    target = _checked(problems, Target(asked.target), lambda: parse_target(asked.target))
    limits = _checked(problems, Limits(), lambda: Limits.with_changes(asked.limits))
    nothing: tuple[tuple[str, dict[str, str]], ...] = ()
    faults = _checked(problems, nothing, lambda: tuple(parse_fault(text) for text in asked.faults))
    if asked.kind not in KINDS:
        problems.append(f"--kind {asked.kind}: is not one of {', '.join(KINDS)}")
    if asked.buttons and not asked.panel:
        problems.append(f"--estop {asked.buttons[0]}: panel steps are off; add --panel if a person stands there")
    if len(set(asked.buttons)) != len(asked.buttons):
        problems.append(f"--estop {', '.join(asked.buttons)}: a button stands twice; each is its own case")
    simulated = target.simulated
    if simulated:
        profile, name, device, epoch_ns = _from_scenario(asked, problems)
    else:
        epoch_ns = 0
        profile, name, device = _from_profile(asked, target, problems)
        if asked.faults:
            problems.append(f"--fault {asked.faults[0]}: faults are for the simulator; use --target sim")
    if profile is not None and profile.kind != asked.kind and asked.kind in KINDS:
        problems.append(f"profile {name} is a {profile.kind}, --kind says {asked.kind}; correct one of them")
    for option, value, least in (
        ("--watch", asked.watch_s, 2.0), ("--interval", asked.interval_s, 0.1),
        ("--timeout", asked.timeout_s, 0.05),
        ("--speed", asked.speed, 0.1),
    ):  # fmt: skip
        if value is not None and not least <= value <= 86_400.0:
            problems.append(f"{option} {value:g}: give seconds (or a factor) from {least:g} to 86400")
    if problems or profile is None:
        raise SettingsError("\n".join(problems))
    return Settings(
        kind=asked.kind,
        target=target,
        profile=profile,
        profile_name=name,
        device=device,
        watch_s=asked.watch_s or (SIM_WATCH_S[asked.kind] if simulated else REAL_WATCH_S),
        interval_s=asked.interval_s or (SIM_INTERVAL_S if simulated else REAL_INTERVAL_S),
        timeout_s=asked.timeout_s,
        speed=asked.speed if simulated else 1.0,
        scenario=asked.scenario,
        epoch_ns=epoch_ns,
        faults=faults,
        limits=limits,
        through_gateway=asked.through_gateway,
        panel=Panel(asked.panel, tuple(asked.buttons)),
    )


def parse_target(text: str) -> Target:
    """Raises: ValueError."""
    if text == "sim":
        return Target(text, simulated=True)
    if re.fullmatch(r"opc\.tcp://[^\s/]+(/\S*)?", text):
        return Target(text, url=text)
    match = re.fullmatch(r"modbus://([^\s/:]+|\[[0-9a-fA-F:]+\])(?::(\d+))?(?:/(\d+))?", text)
    if match is None:
        raise ValueError(f"--target {text}: is not {FORMS}")
    port, unit = int(match[2] or 502), int(match[3] or 1)
    if not 1 <= port <= 65_535 or unit > 255:
        raise ValueError(f"--target {text}: port is 1 to 65535, unit 0 to 255")
    return Target(text, host=match[1].strip("[]"), port=port, unit_id=unit)


def parse_fault(text: str) -> tuple[str, dict[str, str]]:
    """`name` or `name:key=value,key=value`. Raises: ValueError."""
    name, _, rest = text.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",") if pair]
    if not name or any(not (key and sign and value) for key, sign, value in pairs):
        raise ValueError(f"--fault {text}: write NAME or NAME:key=value,key=value")
    return name, {key: value for key, _, value in pairs}


def _checked(problems: list[str], otherwise: T, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except ValueError as error:
        problems += str(error).splitlines()
        return otherwise


def _from_scenario(asked: Asked, problems: list[str]) -> tuple[Profile | None, str, str, int]:
    """The device of a scenario that is tested (the one named, or the first of the kind), and its epoch."""
    if asked.profile:
        problems.append(
            f"--profile {asked.profile}: a simulated device has the profile of its scenario; leave it out"
        )
    try:
        loaded = load_scenario(asked.scenario)
    except ScenarioError as error:
        problems += str(error).splitlines()
        return None, "", "", 0
    of_kind = [d for d in loaded.scenario.device if loaded.profiles[d.name].kind == asked.kind]
    found = [d for d in of_kind if asked.device in (None, d.name)]
    if not found:
        if asked.kind in KINDS:  # else that is told already
            known = ", ".join(d.name for d in of_kind) or f"no {asked.kind}"
            option = f"--device {asked.device}" if asked.device else f"--kind {asked.kind}"
            problems.append(f"{option}: scenario {asked.scenario} has: {known}")
        return None, "", "", 0
    start_ns = round(loaded.scenario.start.timestamp()) * 1_000_000_000
    return loaded.profiles[found[0].name], found[0].profile, found[0].name, start_ns


def _from_profile(asked: Asked, target: Target, problems: list[str]) -> tuple[Profile | None, str, str]:
    if not asked.profile:
        problems.append(
            f"--target {asked.target}: needs --profile, a shipped profile's name or a path ending in .toml"
        )
        return None, "", ""
    try:
        profile = load_profile(asked.profile)
    except ProfileError as error:
        problems += [f"--profile {asked.profile}: {line}" for line in str(error).splitlines()]
        return None, asked.profile, ""
    if profile.protocol != target.protocol and target.host + target.url:
        problems.append(
            f"--profile {asked.profile}: speaks {profile.protocol}, --target {asked.target} is {target.protocol}"
        )
    device = asked.device or f"{asked.kind}-1"
    if not re.fullmatch(r"[a-z0-9_-]+", device):
        problems.append(f"--device {device}: write a name of a-z, 0-9, - and _, as in lock-1")
    return profile, asked.profile, device
