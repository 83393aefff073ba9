"""One line of `bollard edge doctor`."""

from dataclasses import dataclass, field
from typing import Any, Literal

from edge.texts import Texts


@dataclass(frozen=True, slots=True)
class Line:
    """What was found. `note`: worth reading, and nothing is wrong.

    Attributes:
        check: What was looked at, as in `disk`.
        subject: Which one, as in a device's name; "" where there is one only.
        key: Of its sentences in `text/`.
    """

    check: str
    subject: str
    state: Literal["good", "note", "bad"]
    key: str
    values: dict[str, Any] = field(default_factory=dict)

    def text(self, texts: Texts) -> str:
        return texts(f"doctor.{self.key}", subject=self.subject, **self.values)

    def remedy(self, texts: Texts) -> str:
        """What to do; empty where nothing is."""
        try:
            return texts(f"doctor_do.{self.key}", subject=self.subject, **self.values)
        except KeyError:
            if self.state == "bad":
                raise
            return ""
