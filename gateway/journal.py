"""The journal: what PLCs do not know and a person writes down. Append-only, each entry sealed by a hash.

An entry is never changed: one that was wrong is replaced by a later entry, which says so and why. Its hash covers
the entry before it, so that a changed or missing line is found.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from gateway.errors import GatewayError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$", max_length=48)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
IMO_WEIGHTS = (7, 6, 5, 4, 3, 2)


class JournalError(GatewayError):
    """An entry is wrong; nothing was written. Lists every problem, one a line."""


def imo_number(text: str) -> str:
    """Seven digits of which the last checks the others. Raises: ValueError, with the digit that would fit."""
    digits = text.upper().removeprefix("IMO").strip()
    if len(digits) != 7 or not digits.isascii() or not digits.isdigit():
        raise ValueError("an IMO number has seven digits, as in 9074729")
    check = sum(w * int(d) for w, d in zip(IMO_WEIGHTS, digits[:6], strict=True)) % 10
    if check != int(digits[6]):
        raise ValueError(f"its check digit does not fit: after {digits[:6]} comes {check}, not {digits[6]}")
    return digits


def _local(value: Any, info: ValidationInfo) -> Any:
    """A time without its distance from UTC is the site's; in the hour that October repeats it must be given."""
    if not isinstance(value, str):
        return value
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        zone = ZoneInfo((info.context or {}).get("timezone", "UTC"))
        early, late = (at.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        if early.utcoffset() != late.utcoffset():
            raise ValueError("the clocks change in this hour; give the distance from UTC, as in +02:00")
        at = early
    return at.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(_local)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CallEntry(_Body):
    """A ship at a berth."""

    imo: Annotated[str, AfterValidator(imo_number)] = Field(description="the ship's IMO number, as in 9074729")
    berth: Name = Field(description="the berth's name in the site file")
    arrival: Instant = Field(description="all fast: 2026-10-14T08:02, local, or with its distance from UTC")
    departure: Instant = Field(description="last line: after arrival")
    vessel: str = Field("", max_length=80, description="the ship's name, for people")
    use: Literal["", "berth_supply", "traction"] = Field(
        "", description="berth_supply or traction; else the berth's"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.departure <= self.arrival:
            raise ValueError("departure is not after arrival; swap them or correct one")
        return self


class LockHours(_Body):
    """When a lock is to be open to boats."""

    lock: Name = Field(description="the lock's device in the site file")
    first_day: date = Field(description="first day on which they hold, as in 2026-04-01")
    last_day: date | None = Field(None, description="last day; without it until further notice")
    weekdays: tuple[Day, ...] = Field(DAYS, description="days of the week, as in mon,tue; all if left out")
    opens: time = Field(description="local time, as in 06:30")
    closes: time = Field(description="local time after opens, as in 20:30; 00:00 is midnight at the day's end")

    @model_validator(mode="before")
    @classmethod
    def _list(cls, table: Any) -> Any:
        if isinstance(table, dict) and isinstance(table.get("weekdays"), str):
            return table | {"weekdays": tuple(day.strip() for day in table["weekdays"].split(","))}
        return table

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.closes != time(0) and self.closes <= self.opens:
            raise ValueError("closes is not after opens; write two entries for hours across midnight")
        if self.last_day is not None and self.last_day < self.first_day:
            raise ValueError("last_day is before first_day; swap them")
        return self


class LockStoppage(_Body):
    """A time in which a lock is closed to boats, planned or not."""

    lock: Name = Field(description="the lock's device in the site file")
    start: Instant = Field(description="begin, as in 2026-10-14T08:02")
    stop: Instant = Field(description="end")
    planned: bool = Field(description="true for a stoppage that was announced, false for a breakdown")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.stop <= self.start:
            raise ValueError("stop is not after start; swap them or correct one")
        return self


class MeterReplaced(_Body):
    """A meter was changed. Without both indices the energy between them is not known."""

    meter: Name = Field(description="the meter's device in the site file")
    at: Instant = Field(description="when the new one took over")
    closing_import_wh: int | None = Field(None, ge=0, description="last import reading of the old meter, in Wh")
    opening_import_wh: int | None = Field(None, ge=0, description="first import reading of the new one, in Wh")
    closing_export_wh: int | None = Field(None, ge=0, description="last export reading of the old meter, in Wh")
    opening_export_wh: int | None = Field(None, ge=0, description="first export reading of the new one, in Wh")
    serial: str = Field("", description="serial number of the new meter")


Body = CallEntry | LockHours | LockStoppage | MeterReplaced
KINDS: Mapping[str, type[CallEntry] | type[LockHours] | type[LockStoppage] | type[MeterReplaced]] = {
    "call": CallEntry, "lock_hours": LockHours, "lock_stoppage": LockStoppage, "meter_replacement": MeterReplaced,
}  # fmt: skip
WITHDRAWN = "withdrawn"  # the kind of an entry that only takes another one back


@dataclass(frozen=True, slots=True)
class NewEntry:
    """What a person adds."""

    site: str
    kind: str
    json: str
    author: str
    reason: str
    replaces: int | None = None

    @property
    def parts(self) -> tuple[str, str, str, str, str]:
        return self.site, self.kind, self.json, self.author, self.reason


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal. `json` is its body, `replaces` the number of the entry that it takes the place of."""

    number: int
    site: str
    kind: str
    json: str
    author: str
    reason: str
    written_ns: int
    replaces: int | None
    digest: str

    def sealed_after(self, previous: str) -> str:
        """The hash that this entry must have after one with the hash `previous`."""
        parts = [previous, self.number, self.site, self.kind, self.json, self.author, self.reason]
        text = json.dumps([*parts, self.written_ns, self.replaces], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def body(self) -> Body:
        return KINDS[self.kind].model_validate_json(self.json)


def in_force(entries: Iterable[Entry]) -> list[Entry]:
    """Those that no later one replaces, without the notes that only take one back."""
    found = list(entries)
    gone = {entry.replaces for entry in found}
    return [e for e in found if e.number not in gone and e.kind != WITHDRAWN]


def parse(kind: str, table: Mapping[str, Any], timezone: str, where: str) -> Body:
    """Check an entry as a person gave it; `where` names it in messages. Raises: JournalError."""
    model = KINDS.get(kind)
    if model is None:
        raise JournalError(f"{where}: kind {kind!r} is not one of {', '.join(KINDS)}")
    given = {key: value for key, value in table.items() if value not in ("", None)}
    try:
        return model.model_validate(given, context={"timezone": timezone})
    except ValidationError as error:
        raise JournalError("\n".join(_explain(where, model, problem) for problem in error.errors())) from error


def known_problems(body: Body, settings: Mapping[str, Any]) -> list[str]:
    """Names that the site's file does not have. `settings`: berths and devices by name."""
    places = {"berth": settings["berth"], "lock": settings["device"], "meter": settings["device"]}
    return [
        f"{part} {named!r} is not in the site's file; use one of {', '.join(sorted(names)) or 'none is there'}"
        for part, names in places.items()
        if (named := getattr(body, part, None)) is not None and named not in names
    ]


def encode(body: Body) -> str:
    """The same content is always the same text."""
    return body.model_dump_json(exclude_defaults=True)


def same(entries: Sequence[Entry], kind: str, text: str) -> Entry | None:
    """The entry in force that already says this."""
    return next((e for e in in_force(entries) if e.kind == kind and e.json == text), None)


def _explain(where: str, model: type[BaseModel], problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"][:1])
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return f"{where}: {message}"
    if problem["type"] == "extra_forbidden":
        return f"{where}: {key}: no such key; use {', '.join(model.model_fields)}"
    if problem["type"] == "missing":
        return f"{where}: {key} is missing; give {model.model_fields[key].description}"
    return f"{where}: {key} = {problem['input']!r}: {message}; give {model.model_fields[key].description}"
