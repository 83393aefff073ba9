"""The pytest plugin: `-p firmware_sim.hil.plugin` gives a test the device, the simulator, faults and an agent.

`bollard hil run` starts pytest with it on the shipped cases; an engineer's own test files may follow.

Fixtures: `trace` (what a watch of the device saw), `plc` (reads the device), `plant` (the simulator's truth),
`fault` (switches faults, all off after the test), `gateway` (a real edge agent on this device), `check` (what
the case says), `settings`.
"""

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import DeviceUnreachable
from firmware_sim.hil.agent import Gateway
from firmware_sim.hil.in_use import reason_in_use
from firmware_sim.hil.panel import Dialogue
from firmware_sim.hil.plc import Clock, Plc, Progress
from firmware_sim.hil.settings import Asked, Settings, SettingsError, UnreachableError, settings_of
from firmware_sim.hil.simulator import FaultSwitch, Plant, SimulatedClock, Simulator
from firmware_sim.hil.texts import Texts
from firmware_sim.hil.trace import Trace
from firmware_sim.hil.verdict import ERROR, FAILED, NOT_EVALUATED, PASSED, CaseFailed, Check, Result

OWN = "OWN-01"  # a test of somebody's own, which has no case of ours
SETTINGS = pytest.StashKey[Settings]()
ANSWERS = "COM-01"  # the case that asks whether the device answers
RIG = pytest.StashKey["Rig"]()
RESULTS = pytest.StashKey[list[Result]]()
CHECK = pytest.StashKey[Check]()
DIALOGUE = pytest.StashKey[tuple[Dialogue, Texts]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "hardware in the loop")
    group.addoption("--hil-kind", help="charger, meter, battery or lock")
    group.addoption("--hil-target", default="sim", help="sim, modbus://HOST:502/1 or opc.tcp://HOST:4840")
    group.addoption("--hil-profile", help="of a real target: a shipped profile's name or a path")
    group.addoption("--hil-device", help="device of the scenario, or a name for the sheet")
    group.addoption("--hil-scenario", default=Asked.scenario)
    for name in ("watch", "interval"):
        group.addoption(f"--hil-{name}", type=float, help="seconds of the target's time")
    group.addoption("--hil-timeout", type=float, default=Asked.timeout_s)
    group.addoption("--hil-speed", type=float, default=Asked.speed)
    group.addoption("--hil-fault", action="append", default=[], help="NAME or NAME:key=value, on from the start")
    group.addoption("--hil-limit", action="append", default=[], help="name=value")
    group.addoption("--hil-no-gateway", action="store_true")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(id): an acceptance case of the kit; its texts stand under this id")
    config.stash.setdefault(RESULTS, [])
    if SETTINGS in config.stash or not config.getoption("--hil-kind"):
        return
    asked = Asked(
        **{
            name: config.getoption(f"--hil-{name}")
            for name in ("kind", "target", "profile", "device", "scenario", "speed")
        },
        watch_s=config.getoption("--hil-watch"),
        interval_s=config.getoption("--hil-interval"),
        timeout_s=config.getoption("--hil-timeout"),
        faults=config.getoption("--hil-fault"),
        limits=config.getoption("--hil-limit"),
        through_gateway=not config.getoption("--hil-no-gateway"),
    )
    try:
        config.stash[SETTINGS] = settings_of(asked)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error


class Rig:
    """All that a run has open. Made once a session, by the first case that needs it.

    Raises: UnreachableError.
    """

    def __init__(self, settings: Settings, folder: Path, progress: Progress | None = None) -> None:
        self.settings, self.folder, self.progress = settings, folder, progress
        self._stack = contextlib.ExitStack()
        self._trace: Trace | None = None
        self._gateway: Gateway | None = None
        self.simulator: Simulator | None = None
        self.clock = Clock()
        self.target = settings.target
        if self.target.simulated:
            self.simulator = self._stack.enter_context(Simulator(settings, folder))
            self.target = self.simulator.target
            try:
                for name, options in settings.faults:
                    self.simulator.fault.on(name, **options)
            except ValueError as error:
                self._stack.close()
                raise SettingsError(str(error)) from error
            self.clock = self.simulator.start()
        else:
            self.refuse_if_in_use()
        self.plc = Plc(settings, self.target, self.clock)

    def refuse_if_in_use(self) -> None:
        """Raises: UnreachableError."""
        reason = reason_in_use(self.target)
        if reason is not None:
            raise UnreachableError(f"{self.settings.target.text}: {reason}")

    @property
    def trace(self) -> Trace:
        """What the watch saw; watched at first use. Raises: UnreachableError."""
        if self._trace is None:
            try:
                self._trace = self.plc.watch(self.settings.watch_s, progress=self.progress)
            except DeviceUnreachable as error:
                raise UnreachableError(str(error)) from error
        return self._trace

    @property
    def gateway(self) -> Gateway:
        """The agent. While it runs the kit opens no connection of its own to a real device."""
        if self._gateway is None:
            clock = self.clock if isinstance(self.clock, SimulatedClock) else None
            self._gateway = self._stack.enter_context(Gateway(self.settings, self.target, self.folder, clock))
        return self._gateway

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> Settings:
    if SETTINGS not in pytestconfig.stash:
        pytest.skip("no --hil-kind was given")
    return pytestconfig.stash[SETTINGS]


@pytest.fixture(scope="session")
def rig(
    settings: Settings, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """Opened by `bollard hil run` beforehand, so that what is unreachable is told once; else here."""
    if RIG in pytestconfig.stash:
        yield pytestconfig.stash[RIG]
        return
    rig = Rig(settings, tmp_path_factory.mktemp("hil"))
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def trace(rig: Rig, request: pytest.FixtureRequest, check: Check) -> Trace:
    """What the watch saw. Of a device that never answered one case says so, the others nothing."""
    marker = request.node.get_closest_marker("case")
    if not rig.trace.scans() and (marker is None or marker.args[0] != ANSWERS):
        check.not_evaluated("never_answered")
    check.knows = rig.trace.knows
    return rig.trace


@pytest.fixture
def plc(rig: Rig) -> Plc:
    return rig.plc


@pytest.fixture
def plant(rig: Rig, check: Check) -> Plant:
    if rig.simulator is None:
        check.not_evaluated("simulator_only")
    return rig.simulator.plant


@pytest.fixture
def fault(rig: Rig, check: Check) -> Iterator[FaultSwitch]:
    """Only the simulator has faults: a real device is read and left alone."""
    if rig.simulator is None:
        check.not_evaluated("simulator_only")
    switch = FaultSwitch(rig.simulator.plant)
    try:
        yield switch
    finally:
        switch.all_off()


@pytest.fixture
def gateway(rig: Rig, check: Check) -> Gateway:
    if not rig.settings.through_gateway:
        check.not_evaluated("no_gateway_wanted")
    _ = rig.trace  # the watch comes first: one connection at a time
    return rig.gateway


@pytest.fixture
def dialogue(pytestconfig: pytest.Config, check: Check) -> tuple[Dialogue, Texts]:
    """How a person at the panel is talked to; only with --panel."""
    if DIALOGUE not in pytestconfig.stash:
        check.not_evaluated("no_panel")
    return pytestconfig.stash[DIALOGUE]


@pytest.fixture
def check(settings: Settings, request: pytest.FixtureRequest) -> Check:
    request.node.stash[CHECK] = Check(settings.profile, settings.limits)
    return request.node.stash[CHECK]  # type: ignore[no-any-return]  # pytest's node has no type here


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn a report into a result of the case, and its findings into what JUnit shows."""
    report = yield
    marker = item.get_closest_marker("case")
    name = OWN if marker is None else marker.args[0]
    if (call.when == "setup" and call.excinfo is None) or call.when == "teardown":
        return report
    check = item.stash.get(CHECK, None)
    error = call.excinfo.value if call.excinfo is not None else None
    outcome = PASSED
    if isinstance(error, pytest.skip.Exception):
        outcome = NOT_EVALUATED
        report.longrepr = (item.location[0], (item.location[1] or 0) + 1, str(error))
    elif isinstance(error, CaseFailed):
        outcome = FAILED
        report.longrepr = str(error)  # the sentence; a traceback would say nothing about the device
    elif error is not None:
        outcome = FAILED if marker is None and isinstance(error, AssertionError) else ERROR
    findings = check.findings if check is not None else []
    item.user_properties.append(("case", name))
    detail = str(report.longrepr) if outcome == ERROR else ""
    if marker is None and error is not None:
        detail = str(error).replace("\n", " ")
    subject = item.name if marker is None else check.subject if check is not None else ""
    result = Result(name, outcome, findings, call.duration, detail, subject)
    item.config.stash[RESULTS].append(result)
    return report
