"""What a case says: a finding is a key of the text files with its values; a result is an outcome with findings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from _pytest.outcomes import Skipped  # what pytest.skip raises; its public name has no type

from drivers.profile import Profile
from firmware_sim.hil.limits import Limits

Value = int | float | str
PASSED, FAILED, NOT_EVALUATED, ERROR = "passed", "failed", "not_evaluated", "error"
OUTCOMES = (PASSED, FAILED, NOT_EVALUATED, ERROR)


@dataclass(frozen=True)
class Finding:
    """A sentence of `text/*.toml`, section `saw`, with its values."""

    key: str
    params: Mapping[str, Value] = field(default_factory=dict)


@dataclass
class Result:
    """A case that has run. `detail` is the traceback of an error in the kit itself."""

    id: str
    outcome: str
    findings: list[Finding]
    seconds: float = 0.0
    detail: str = ""
    subject: str = ""  # what a case that is there several times is about, as a button's name


class CaseFailed(Exception):
    """The device does not do what the case asks."""


class NotEvaluated(Skipped):
    """The case cannot be judged; its reason is among the findings."""


class Check:
    """A case's pen. Say what was seen with `saw`; end with `fail` or `not_evaluated`, or return: passed."""

    def __init__(self, profile: Profile, limits: Limits) -> None:
        self.profile = profile
        self.limits = limits
        self.findings: list[Finding] = []
        self.subject = ""
        self.knows: Callable[[str], bool] = lambda _: True  # whether the watch ever knew a point

    def saw(self, key: str, **params: Value) -> None:
        self.findings.append(Finding(key, params))

    def fail(self, key: str, **params: Value) -> NoReturn:
        self.saw(key, **params)
        raise CaseFailed(self._shown())

    def require(self, holds: bool, key: str, **params: Value) -> None:
        if not holds:
            self.fail(key, **params)

    def not_evaluated(self, key: str, **params: Value) -> NoReturn:
        self.saw(key, **params)
        raise NotEvaluated(self._shown())

    def needs(self, *names: str) -> None:
        """Points without which the case means nothing: the profile has them, and the watch has seen them."""
        missing = [name for name in names if name not in self.profile.index]
        if missing:
            self.not_evaluated("no_points", points=", ".join(missing))
        unknown = [name for name in names if not self.knows(name)]
        if unknown:
            visits = self.profile.kind == "battery"  # of a ship that may not be there
            self.not_evaluated("unknown_visitor" if visits else "unknown_all_along", points=", ".join(unknown))

    def _shown(self) -> str:
        from firmware_sim.hil.texts import Texts

        return "; ".join(Texts("en").finding(finding) for finding in self.findings)


def clock_time(t_ns: int) -> str:
    """As a person reads it beside a PLC's panel: UTC, to the second."""
    return datetime.fromtimestamp(t_ns / 1e9, UTC).strftime("%H:%M:%S")
