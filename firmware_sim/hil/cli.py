"""`bollard hil`: the acceptance tests of a device, simulated or real."""

import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from firmware_sim.cli import duration
from firmware_sim.hil import panel
from firmware_sim.hil.cases import FOLDER, files_of
from firmware_sim.hil.plugin import DIALOGUE, RESULTS, RIG, SETTINGS, Rig
from firmware_sim.hil.run import PanelPeople, Run
from firmware_sim.hil.settings import KINDS, LANGS, Asked, Settings, SettingsError, UnreachableError, settings_of
from firmware_sim.hil.sheet import write_sheet
from firmware_sim.hil.table import print_table
from firmware_sim.hil.texts import Texts
from firmware_sim.hil.verdict import Result

FAILED, WRONG_INPUT, UNREACHABLE = 1, 2, 4
app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
    help="Acceptance tests of a device, simulated or real. Reads only.",
)  # fmt: skip


@app.command()
def run(
    kind: Annotated[str, typer.Option(help="charger, meter, battery or lock")],
    target: Annotated[str, typer.Option(help="sim, modbus://HOST:502/1 or opc.tcp://HOST:4840/PATH")] = "sim",
    profile: Annotated[
        str | None, typer.Option(help="of a real target: a shipped profile, or a path to one")
    ] = None,
    device: Annotated[str | None, typer.Option(help="the scenario's device, or a name for the sheet")] = None,
    scenario: Annotated[str, typer.Option(help="of the simulator")] = Asked.scenario,
    watch: Annotated[
        Any, typer.Option(parser=duration, help="how long to watch, as in 45min, in the target's time")
    ] = None,
    interval: Annotated[float | None, typer.Option(help="seconds between scans, in the target's time")] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for an answer")] = 1.0,
    speed: Annotated[float, typer.Option(help="of the simulator's time")] = Asked.speed,
    fault: Annotated[
        list[str] | None, typer.Option(help="simulator: NAME or NAME:key=value,… on from the start")
    ] = None,
    limit: Annotated[list[str] | None, typer.Option(help="name=value; the sheet lists all of them")] = None,
    no_gateway: Annotated[bool, typer.Option("--no-gateway", help="leave the edge agent out")] = False,
    with_panel: Annotated[
        bool, typer.Option("--panel", help="with steps that a person takes at the panel")
    ] = False,
    estop: Annotated[list[str] | None, typer.Option(help="name of an emergency stop, one each")] = None,
    tests: Annotated[
        list[Path] | None, typer.Option(help="a test file of your own, with the same fixtures")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for the sheet and the JUnit file")] = Path("hil-out"),
    lang: Annotated[str, typer.Option(help="of the terminal: fr or en; the sheet has both")] = "",
) -> None:
    """Run the cases of a kind. Exit 0: none is red; 1: some are; 2: wrong input; 4: not reachable, or in use."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format='level=%(levelname)s msg="%(message)s"')
    asked = Asked(
        kind, target, profile, device, watch, interval, timeout, speed, scenario, fault or [], limit or [],
        not no_gateway, with_panel, estop or [],
    )  # fmt: skip
    try:
        texts = Texts(_language(lang))
        settings = settings_of(asked)
        missing = [str(file) for file in tests or [] if not file.exists()]
        if missing:
            raise SettingsError(f"--tests {missing[0]}: there is no such file")
        code = _run(settings, texts, tests or [], _folder(out))
    except SettingsError as error:
        raise _fail(str(error), WRONG_INPUT) from error
    except UnreachableError as error:
        raise _fail(str(error), UNREACHABLE) from error
    raise typer.Exit(code)


@app.command()
def cases(
    kind: Annotated[str, typer.Option(help="charger, meter, battery or lock")],
    lang: Annotated[str, typer.Option(help="fr or en")] = "",
) -> None:
    """List the cases of a kind and what they ask for, with the default limits."""
    from firmware_sim.hil.limits import Limits

    if kind not in KINDS:
        raise _fail(f"--kind {kind}: is not one of {', '.join(KINDS)}", WRONG_INPUT)
    texts = Texts(_language(lang))
    limits = {name: value for name, value, _, _ in Limits().shown()}
    prefixes = {"charger": "CHG", "meter": "MTR", "battery": "BAT", "lock": "LCK"}
    for name in texts.cases():
        group = name.partition("-")[0]
        if group in prefixes.values() and group != prefixes[kind]:
            continue
        if group == "OWN" or (group == "PAN" and kind not in panel.KINDS):
            continue
        print(f"{name}  {texts.title(name)}: {texts.must(name, limits)}")


class _Prepared:
    """Hands pytest what is already open. Before the plugin itself is configured."""

    def __init__(self, rig: Rig, talk: tuple[panel.Dialogue, Texts] | None) -> None:
        self._rig, self._talk = rig, talk
        self.results: list[Result] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[SETTINGS] = self._rig.settings
        config.stash[RIG] = self._rig
        config.stash[RESULTS] = self.results
        if self._talk is not None:
            config.stash[DIALOGUE] = self._talk


def _run(settings: Settings, texts: Texts, own: Sequence[Path], out: Path) -> int:
    """Raises: SettingsError, UnreachableError."""
    talk, people = None, PanelPeople()
    if settings.panel.wanted:
        talk = panel.at_terminal(), texts
        people = panel.introduce(settings, texts, talk[0])
    started = datetime.now().astimezone()
    with tempfile.TemporaryDirectory(prefix="bollard-hil-") as folder, _closing(settings, Path(folder)) as rig:
        with _progress(settings, texts) as told:
            rig.progress = told
            trace = rig.trace
        prepared = _Prepared(rig, talk)
        part = out / "junit.part"
        code, said = _pytest(settings, own, part, prepared)
        endpoint, watched_s = rig.plc.endpoint, settings.watch_s
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SettingsError(f"pytest ended with {code!r}; it said:\n{said[-3000:]}")
    done = Run(
        settings, endpoint, started, trace.scans(), trace.requests, watched_s, prepared.results, _version(), people
    )
    junit, sheet = part.rename(out / f"{done.number}.xml"), out / f"{done.number}.html"
    write_sheet(done, sheet, junit)
    print_table(done, texts, Console(soft_wrap=False, width=None if sys.stdout.isatty() else 150))
    print(junit)
    print(sheet)
    return FAILED if done.red or code == pytest.ExitCode.TESTS_FAILED else 0


@contextlib.contextmanager
def _closing(settings: Settings, folder: Path) -> Iterator[Rig]:
    rig = Rig(settings, folder)
    try:
        yield rig
    finally:
        rig.close()


def _pytest(settings: Settings, own: Sequence[Path], junit: Path, prepared: _Prepared) -> tuple[int, str]:
    """Run the cases in this process; plug-ins of whatever environment this is stay out. Returns: code, output."""
    files = files_of(settings.kind)
    if settings.panel.wanted:
        files.append(FOLDER / "panel.py")
    args = [
        *(str(file) for file in files), *(str(file) for file in own),
        "-p", "firmware_sim.hil.plugin", "-p", "no:cacheprovider", "--import-mode=importlib",
        "-c", os.devnull, "--rootdir", str(FOLDER), f"--junitxml={junit}", "-o", "junit_family=xunit2",
        "-o", f"junit_suite_name=bollard hil {settings.kind}", "-q", "--tb=short", "--capture=no",
    ]  # fmt: skip
    kept = {name: os.environ.pop(name, None) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            code = int(pytest.main(args, plugins=[prepared]))
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    return code, said.getvalue()


@contextlib.contextmanager
def _progress(settings: Settings, texts: Texts) -> Iterator[Any]:
    """A bar on stderr while the device is watched; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, transient=True
    )
    text = texts("terminal.watching", device=settings.device, seconds=settings.watch_s)
    if not console.is_terminal:
        yield None
        return
    with bar:
        task = bar.add_task(text, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _language(lang: str) -> str:
    if not lang:
        return "en" if os.environ.get("LANG", "").startswith("en") else "fr"
    if lang not in LANGS:
        raise _fail(f"--lang {lang}: is not one of {', '.join(LANGS)}", WRONG_INPUT)
    return lang


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--out {out}: cannot be made: {error.strerror}; give a folder that can") from error
    return out


def _version() -> str:
    try:
        return version("bollard")
    except PackageNotFoundError:
        return "0+unknown"


def _fail(message: str, code: int) -> typer.Exit:
    print(message, file=sys.stderr)
    return typer.Exit(code)


if __name__ == "__main__":
    app()
