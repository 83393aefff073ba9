"""What keeps a report from being whole: said among the reservations, and by exit code 3."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """`code` is a key of the texts (report.problem.<code>); instants are ns under names that end in `at_ns`."""

    code: str
    values: Mapping[str, object]
