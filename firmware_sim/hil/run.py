"""What a run leaves: its results with all that a sheet must say about them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from firmware_sim.hil.settings import Settings
from firmware_sim.hil.verdict import ERROR, FAILED, OUTCOMES, Result


@dataclass(frozen=True)
class PanelPeople:
    """Who answers for the steps at the panel, as typed. Empty where there were none."""

    person: str = ""
    permit: str = ""


@dataclass(frozen=True)
class Run:
    """A finished run."""

    settings: Settings
    endpoint: str
    started: datetime
    scans: int
    requests: int
    watched_s: float
    results: Sequence[Result]
    version: str
    people: PanelPeople = field(default_factory=PanelPeople)

    @property
    def counts(self) -> Mapping[str, int]:
        found = Counter(result.outcome for result in self.results)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    @property
    def red(self) -> int:
        return self.counts[FAILED] + self.counts[ERROR]

    @property
    def number(self) -> str:
        """Names the sheet and its files."""
        return f"hil-{self.started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{self.settings.device}"
