"""Scenarios: what stands on the quay, as TOML, checked as a whole before anything starts."""

import copy
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drivers.errors import ProfileError
from drivers.profile import Profile, explain_all, load_profile, not_toml
from firmware_sim.plant.replay import Recording, RecordingError, load
from firmware_sim.scenario_checks import problems_between
from firmware_sim.scenario_tables import Scenario

_SHIPPED = resources.files("firmware_sim")
_MISSING = "missing-key-"  # stands in for a name that a file lacks, so that the rest of it is checked too
_OPTIONS = {
    "file": "--recording", "columns": "--columns", "start_s": "--start", "span_s": "--span",
    "capacity_ah": "--capacity-ah", "series": "--series", "parallel": "--parallel",
}  # fmt: skip


class ScenarioError(ValueError):
    """A scenario is not usable. Lists every problem, one a line."""


@dataclass(frozen=True)
class Loaded:
    """A scenario with everything it points to."""

    scenario: Scenario
    profiles: Mapping[str, Profile]  # by device
    recordings: Mapping[str, Recording]  # by berth, whole


def shipped_scenarios() -> list[str]:
    """Names of the scenarios that come with bollard."""
    return sorted(
        item.name.removesuffix(".toml")
        for item in (_SHIPPED / "scenarios").iterdir()
        if item.name.endswith(".toml")
    )


def folder_of(name: str) -> Path:
    """The folder from which a scenario's own profiles are searched."""
    return _find(name)[0].parent


def load_scenario(
    name: str, *, recording: Mapping[str, Any] | None = None, pack: Mapping[str, Any] | None = None
) -> Loaded:
    """Load and check a scenario, its profiles and its recordings.

    Args:
        name: A shipped scenario's name, or a path that ends in `.toml`.
        recording, pack: Keys that replace those of every berth, as given on the command line. A `file` in
            `recording` lets the berth's own columns, start and capacity go, for they belong to its own file.

    Raises: ScenarioError, with one line per problem.
    """
    path, text = _find(name)
    typed = {**(recording or {}), **(pack or {})}
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: {not_toml(error)}") from error
    if typed and not any("recording" in table for table in data.get("berth", []) if isinstance(table, dict)):
        options = ", ".join(_OPTIONS[key] for key in typed)
        raise ScenarioError(
            f"{options}: no berth of {path.stem} replays a recording; leave it out, or use demo-port"
        )
    for table in data.get("berth", []):
        _override(table, recording or {}, pack or {})
    problems: list[str] = []
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        problems = [_as_typed(path, line, typed) for line in explain_all(str(path), error, Scenario)]
        repaired = _repaired(data, error)
        if repaired is None:
            raise ScenarioError("\n".join(dict.fromkeys(problems))) from error
        scenario = repaired  # what is right in the file is checked too, so that all problems are told at once
    profiles: dict[str, Profile] = {}
    recordings: dict[str, Recording] = {}
    for i, device in enumerate(scenario.device):
        try:
            profiles[device.name] = load_profile(device.profile, path.parent)
        except ProfileError as error:
            problems += [f"{path}: device[{i}].profile: {line}" for line in str(error).splitlines()]
    for i, berth in enumerate(scenario.berth):
        if berth.recording is None:
            continue
        try:
            file = _recording_path(path, berth.recording.file)
            whole = load(file, {str(k): v for k, v in berth.recording.columns.items()})
            whole.cut(berth.recording.start_s or 0, berth.recording.span_s)
            recordings[berth.name] = whole
        except RecordingError as error:
            where = f"{path}: berth[{i}].recording"
            if recording:
                where = ", ".join(_OPTIONS[key] for key in recording)
            problems += [f"{where}: {line}" for line in str(error).splitlines()]
    spots = {_spot(path, line) for line in problems}
    # A wrong key is told once, not again as one that is missing.
    problems += [line for line in problems_between(path, scenario, profiles) if _spot(path, line) not in spots]
    problems = [line for line in problems if _MISSING not in line]
    if problems:
        raise ScenarioError("\n".join(dict.fromkeys(problems)))  # a wrong option is wrong at each berth
    return Loaded(scenario, profiles, recordings)


def _spot(path: Path, line: str) -> str:
    """Where in the file a problem lies, as in berth[0].vessel."""
    return re.split(r"[: ]", line.removeprefix(f"{path}: "), maxsplit=1)[0]


def _as_typed(path: Path, line: str, typed: Mapping[str, Any]) -> str:
    """A problem with a key that the command line gave names the option, not a file that is right."""
    found = re.match(rf"{re.escape(str(path))}: berth\[\d+\]\.(?:recording|pack)\.(\w+)", line)
    if found is None or found[1] not in typed:
        return line
    return _OPTIONS[found[1]] + line[found.end() :]


def _repaired(data: dict[str, Any], error: ValidationError) -> Scenario | None:
    """The scenario without its wrong keys and with names for those it lacks, if that makes a whole one."""
    rest = copy.deepcopy(data)
    for n, problem in enumerate(error.errors()):
        table: Any = rest
        *way, last = problem["loc"]
        for step in way:
            try:
                table = table[step]
            except (KeyError, IndexError, TypeError):
                break  # the table itself is gone already
        else:
            if isinstance(table, dict) and problem["type"] == "missing":
                table[str(last)] = f"{_MISSING}{n}"
            elif isinstance(table, dict):
                table.pop(last, None)
    try:
        return Scenario.model_validate(rest)
    except ValidationError:
        return None


def _find(name: str) -> tuple[Path, str]:
    if not name.endswith(".toml"):
        if name not in shipped_scenarios():
            known = ", ".join(shipped_scenarios())
            raise ScenarioError(f"scenario {name!r} is not known; use {known}, or a path that ends in .toml")
        path = Path(str(_SHIPPED / "scenarios" / f"{name}.toml"))
    else:
        path = Path(name)
    try:
        return path, path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read: {error.strerror}; give a scenario file, or one of "
            f"{', '.join(shipped_scenarios())}"
        ) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _override(table: Any, recording: Mapping[str, Any], pack: Mapping[str, Any]) -> None:
    """Put the command line's keys into a berth's table; what is not a table is left for the check."""
    if not isinstance(table, dict) or "recording" not in table:
        return
    own = table.get("recording", {})
    if isinstance(own, dict):
        table["recording"] = {**({} if "file" in recording else own), **recording}
    own = table.get("pack", {})
    if isinstance(own, dict):
        table["pack"] = {**own, **pack}


def _recording_path(scenario: Path, file: str) -> Path:
    beside = scenario.parent / file
    shipped = Path(str(_SHIPPED / "recordings" / file))
    return shipped if not beside.exists() and shipped.exists() else beside
