"""bollard's own alarms and what people did about them, after ISA-18.2; the journal is all that is kept.

An alarm is a (site, device, code, point) that can be active. Its state follows from the journal alone, entry by
entry, so a restart stands where it stood. Taking note of it is bollard's own matter: it acknowledges nothing in a
SCADA. What the core inhibits in maintenance is suppressed, and visible. Shelving hides an alarm for a time that is
given at once, and ends by itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from edge.wire import RowLine, encode_row

State = Literal["normal", "unacknowledged", "acknowledged", "returned", "shelved", "suppressed"]
Action = Literal["begin", "end", "told", "suppress", "note", "shelve", "unshelve", "expire"]
Priority = Literal["high", "medium", "low"]
Key = tuple[str, str, str, str]  # site, device, code, point

SHELVED_AT_MOST_S = 12 * 3600.0  # a shift and its neighbour; longer is a decision for engineering
FLOOD_PER_10_MIN = 10  # ISA-18.2: more than this in ten minutes is a flood
PRIORITIES: dict[str, Priority] = {
    "lock_sluice_opposite_open": "high",
    "lock_sluices_opposite_open": "high",
    "lock_gates_opposite_open": "high",
    "lock_sluice_open_gate_closing": "high",
    "lock_head_at_opening": "high",
    "lock_green_gate_not_open": "high",
    "lock_level_moves_closed": "medium",
    "lock_level_still_sluice_open": "medium",
    "lock_mode_change_in_lockage": "medium",
    "lock_heartbeat_frozen": "medium",
    "stale": "medium",
    "gateway_offline": "medium",
    "counter_gap_refused": "medium",
    "counter_register_lost": "medium",
    "register_parts_from_power": "medium",
    "rows_dropped": "medium",
    "certificate_expires": "medium",
}  # all others that are alarms: low
QUIET = frozenset(  # events that belong into the journal of a device and ask nobody for anything
    {
        "agent_started",
        "doctor_ran",
        "minutes_revised",
        "lock_rules_not_evaluated",
        "lock_maintenance",
        "counter_rollover",
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal. `uncertain_ns`: it happened at most so long before `t_ns`."""

    t_ns: int
    key: Key
    action: Action
    who: str = ""  # empty: bollard itself
    comment: str = ""
    until_ns: int = 0  # of a shelving
    event: str = ""  # the line that it stands for, as it came
    number: int = 0  # given by the book
    uncertain_ns: int = 0


@dataclass(frozen=True, slots=True)
class Alarm:
    """Where an alarm stands. `active`: its cause is there now."""

    key: Key
    priority: Priority
    active: bool = False
    noted: bool = True
    inhibited: bool = False
    since_ns: int = 0  # of the latest begin
    ended_ns: int = 0
    uncertain_ns: int = 0
    times: int = 0
    who: str = ""  # took note, or shelved
    comment: str = ""
    noted_ns: int = 0
    shelved_until_ns: int = 0
    event: str = ""

    @property
    def state(self) -> State:
        if self.shelved_until_ns:
            return "shelved"
        if self.inhibited:
            return "suppressed" if self.active else "normal"
        if self.active:
            return "acknowledged" if self.noted else "unacknowledged"
        return "normal" if self.noted else "returned"


class NotPossible(Exception):
    """What was asked for does not fit the alarm's state. `code` names a sentence of text/*.toml."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code, self.values = code, values


class Alarms:
    """All alarms of a journal. Holds no file: entries go in, entries that are new come out to be written."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.alarms: dict[Key, Alarm] = {}
        self.begun_ns: list[int] = []  # instants of begins, for the rate
        self.last_event_ns: dict[str, int] = {}  # site -> newest event seen
        self.version = 0
        self._seen: set[tuple[Key, int, Action]] = set()
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        """Take an entry that the journal has."""
        alarm = self.alarms.get(entry.key) or Alarm(entry.key, PRIORITIES.get(entry.key[2], "low"))
        self.alarms[entry.key] = _after(alarm, entry)
        if not entry.who:
            self._seen.add((entry.key, entry.t_ns, entry.action))
            self.last_event_ns[entry.key[0]] = max(self.last_event_ns.get(entry.key[0], 0), entry.t_ns)
        if entry.action in ("begin", "told"):
            self.begun_ns.append(entry.t_ns)
        self.version += 1

    def heard(self, row: RowLine, uncertain_ns: int = 0) -> Entry | None:
        """The entry that an event of a gateway makes; None if it makes none, or was heard before."""
        code = row.tags.get("code", "")
        if code in QUIET:
            return None
        key = (row.tags.get("site", ""), row.tags.get("device", ""), code, row.tags.get("point", ""))
        active = row.fields.get("active")
        action: Action = "told" if active is None else "begin" if active else "end"
        if action == "begin" and row.fields.get("inhibited"):
            action = "suppress"

        entry = Entry(
            row.t_ns,
            key,
            action,
            event=encode_row(row.kind, row.tags, row.fields, row.t_ns),
            uncertain_ns=uncertain_ns,
        )
        return None if (key, row.t_ns, action) in self._seen else entry

    def own(self, t_ns: int, key: Key, active: bool) -> Entry | None:
        """The entry of a condition that this side watches (stale, offline); None if nothing has changed."""
        known = self.alarms.get(key)
        if (known.active if known else False) == active:
            return None
        return Entry(t_ns, key, "begin" if active else "end")

    def note(self, t_ns: int, key: Key, who: str, comment: str) -> Entry:
        """Someone takes note. Raises: NotPossible with who was faster, or that there is nothing to note."""
        alarm = self._known(key)
        if alarm.state in ("unacknowledged", "returned"):
            return Entry(t_ns, key, "note", who, comment)
        if alarm.noted and alarm.noted_ns:
            raise NotPossible("web.alarm.already_noted", who=alarm.who)
        raise NotPossible("web.alarm.nothing_to_note")

    def shelve(self, t_ns: int, key: Key, who: str, comment: str, span_s: float) -> Entry:
        """Put aside for a time. Raises: NotPossible for a span that is none, too long, or without a comment."""
        alarm = self._known(key)
        if not 60.0 <= span_s <= SHELVED_AT_MOST_S:
            raise NotPossible("web.alarm.shelve_span", hours=int(SHELVED_AT_MOST_S / 3600))
        if not comment.strip():
            raise NotPossible("web.alarm.shelve_why")
        if alarm.state == "shelved":
            raise NotPossible("web.alarm.already_shelved", who=alarm.who)
        return Entry(t_ns, key, "shelve", who, comment, until_ns=t_ns + int(span_s * 1e9))

    def unshelve(self, t_ns: int, key: Key, who: str, comment: str) -> Entry:
        if self._known(key).state != "shelved":
            raise NotPossible("web.alarm.not_shelved")
        return Entry(t_ns, key, "unshelve", who, comment)

    def expired(self, now_ns: int) -> Iterator[Entry]:
        """Shelvings that have run out."""
        for key, alarm in self.alarms.items():
            if alarm.shelved_until_ns and alarm.shelved_until_ns <= now_ns:
                yield Entry(alarm.shelved_until_ns, key, "expire")

    def rate(self, now_ns: int) -> int:
        """Alarms that began within the last ten minutes."""
        self.begun_ns = [t for t in self.begun_ns if t > now_ns - 600 * 10**9]
        return len(self.begun_ns)

    def _known(self, key: Key) -> Alarm:
        alarm = self.alarms.get(key)
        if alarm is None:
            raise NotPossible("web.alarm.unknown")
        return alarm


def _after(alarm: Alarm, entry: Entry) -> Alarm:
    """The alarm after an entry of its journal."""
    match entry.action:
        case "begin" | "suppress":
            inhibited = entry.action == "suppress"
            return replace(
                alarm, active=True, noted=inhibited, inhibited=inhibited, uncertain_ns=entry.uncertain_ns,
                noted_ns=0, who="", comment="", since_ns=entry.t_ns, times=alarm.times + 1, event=entry.event,
            )  # fmt: skip
        case "told":  # over as soon as it is said: it waits for somebody to read it
            return replace(
                alarm, active=False, noted=False, inhibited=False, since_ns=entry.t_ns, ended_ns=entry.t_ns,
                times=alarm.times + 1, event=entry.event, uncertain_ns=entry.uncertain_ns, noted_ns=0,
                who="", comment="",
            )  # fmt: skip
        case "end":
            return replace(alarm, active=False, ended_ns=entry.t_ns)
        case "note":
            return replace(alarm, noted=True, noted_ns=entry.t_ns, who=entry.who, comment=entry.comment)
        case "shelve":
            return replace(alarm, shelved_until_ns=entry.until_ns, who=entry.who, comment=entry.comment)
        case "unshelve" | "expire":
            return replace(alarm, shelved_until_ns=0)
