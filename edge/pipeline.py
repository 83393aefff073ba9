"""From a scan to lines for the spool: the row itself, and what the computations make of it.

Everything here runs in the event loop without waiting, in the order in which rows arrive. A restart feeds the
lines that came after the last checkpoint through the same code and ends in the same state.
"""

import base64
import json
import logging
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from drivers.profile import Profile
from drivers.row import HISTORY, Quality, Row, empty_row
from edge import wire
from edge.compute import Compute
from edge.config import LoadedSite
from edge.proofs import Proofs
from edge.spool import Entry, Held
from edge.unit import Output

log = logging.getLogger(__name__)
_NO_DOUBT = frozenset(map(int, (Quality.GOOD, Quality.NOT_SCANNED)))
LATE_NS = 1_000_000_000  # older than the newest row by this much is late; less is jitter


class Pipeline:
    """Turns rows into spool entries. `entries` grows until the flusher takes it."""

    def __init__(self, loaded: LoadedSite) -> None:
        self._set(loaded)
        self._aboard: dict[str, tuple[str, int]] = {}  # per device: the vessel of its rows, and since when
        self._last_ns: dict[str, int] = {}  # per device: two of its rows never share an instant
        self.entries: list[Entry] = []
        self.trusted = True
        self.has_other_meters = False  # than the state from which we went on
        self.held: list[Held] = []  # grows likewise, while nobody knows what time it is
        self._hold: tuple[str, int] | None = None  # the boot, and our time minus the monotonic clock's

    def _set(self, loaded: LoadedSite) -> None:
        site = loaded.site
        self._profiles = loaded.profiles
        self._tags = {
            d.name: {"site": site.site.name, "gateway": site.site.gateway, "device": d.name, "origin": d.origin}
            for d in site.device
        }
        self._site_tags = {"site": site.site.name, "gateway": site.site.gateway, "origin": _weakest(loaded)}
        self._plain = {name: _Plain(profile) for name, profile in loaded.profiles.items()}
        self._compute = Compute(loaded)
        self._proofs = Proofs(loaded)

    def adopt(self, loaded: LoadedSite) -> None:
        """Go on with another site file, as a restart would in this instant. What waits for its commit stays.

        Where that fails the old one goes on, as if nothing had been.
        """
        state, before = self.checkpoint(), dict(vars(self))
        try:
            self._set(loaded)
            self.resume(state, ())
        except BaseException:
            vars(self).update(before)
            raise

    @property
    def holding(self) -> bool:
        return self._hold is not None

    def hold(self, boot: str, offset_ns: int) -> None:
        """Compute nothing from here on: rows wait with the monotonic time that is `offset_ns` below theirs."""
        self._hold = boot, offset_ns

    def take(self, device: str, row: Row) -> None:
        """Take one scan: encode it, compute with it, and queue both."""
        if self._hold is not None:
            profile = self._profiles[device]
            lane = wire.lane_of(profile.kind, row.scan)
            self._wait(lane, profile.kind, self._tags[device], _fields(profile, row, True), row.t_ns)
            self._proofs.mark(device, row)  # for who watches; the row itself is judged when its time has come
            return
        if row.scan == HISTORY or self._is_late(device, row.t_ns):
            self._take_late(device, row)
            return
        row.t_ns = self._later(device, row.t_ns)
        profile = self._profiles[device]
        self._plain[device](row)
        doubts = self._proofs.judge(device, row)
        vessel = self._note_vessel(device, row)
        line = wire.encode_row(
            profile.kind, self._tags[device] | {"vessel": vessel}, _fields(profile, row, self.trusted), row.t_ns
        )
        self.entries.append(Entry(wire.lane_of(profile.kind, row.scan), row.t_ns, line, True))
        self._queue(doubts)
        self._queue(self._compute.feed(device, row))

    def _note_vessel(self, device: str, row: Row) -> str:
        """The row's vessel, and since when it is there."""
        vessel = self._compute.vessel_of(device, row)
        if self._aboard.get(device, ("", 0))[0] != vessel:
            self._aboard[device] = vessel, row.t_ns
        return vessel

    def _is_late(self, device: str, t_ns: int) -> bool:
        """Recorded by the device while it could not be reached, not merely a clock that was set back a little."""
        return t_ns <= self._last_ns.get(device, 0) - LATE_NS

    def _take_late(self, device: str, row: Row) -> None:
        """Queue what a server had kept of a gap, or what else is late.

        Its instant is its source's, so that the same past is the same row whenever it is asked for. Whose it
        is, is known only if the vessel was there before the gap and still is.
        """
        profile = self._profiles[device]
        self._plain[device](row)
        self._proofs.mark(device, row)
        vessel, since_ns = self._aboard.get(device, ("", 0))
        tags = self._tags[device] | {"vessel": "unknown" if vessel and row.t_ns < since_ns else vessel}
        fields = _fields(profile, row, self.trusted) | {"late": 1}
        line = wire.encode_row(profile.kind, tags, fields, row.t_ns)
        replay = self._compute.counts_late(device)
        self.entries.append(Entry(wire.lane_of(profile.kind, row.scan), row.t_ns, line, replay))
        self._queue(self._compute.feed_late(device, row, tags["vessel"]))

    def take_report(self, kind: str, device: str | None, fields: dict[str, wire.Value], t_ns: int) -> None:
        """Queue a `link` or `gateway` row, or an event of the agent itself. They feed no computation."""
        tags = self._tags[device] if device is not None else self._site_tags
        if self._hold is not None:
            self._wait(wire.lane_of(kind), kind, tags, fields, t_ns)
            return
        self._queue([Output(kind, device, fields, self._later(f"{kind} {device}", t_ns))], tags)

    def take_event(self, code: str, device: str | None, t_ns: int, **fields: wire.Value) -> None:
        tags = (self._tags[device] if device is not None else self._site_tags) | {"code": code}
        fields = fields or {"value": 1.0}
        if self._hold is not None:
            self._wait("events", "event", tags, fields, t_ns)
            return
        at_ns = self._later("event", t_ns)
        self.entries.append(Entry("events", at_ns, wire.encode_row("event", tags, fields, at_ns), False))

    # While nobody knows what time it is.

    def _wait(
        self, lane: wire.Lane, kind: str, tags: dict[str, str], fields: dict[str, wire.Value], t_ns: int
    ) -> None:
        assert self._hold is not None
        boot, offset_ns = self._hold
        self.held.append(Held(lane, boot, t_ns - offset_ns, wire.encode_row(kind, tags, fields, t_ns)))

    def release(self, waited: Iterable[tuple[Held, int, bool]]) -> list[Entry]:
        """What rows become that have waited: each with its time, and whether that is more than a guess.

        A guess computes nothing and says so (`clk=0`). What comes in meanwhile waits on.
        """
        hold, before = self._hold, self.entries
        self._hold, self.entries = None, []
        for held, t_ns, is_known in waited:
            decoded = wire.decode_row(held.line)
            device = decoded.tags.get("device", "")
            profile = self._profiles.get(device)
            if profile is None or profile.kind != decoded.kind:
                series = "event" if decoded.kind == "event" else f"{decoded.kind} {device or None}"
                self._put_back(held, decoded, series, t_ns, is_known)
            elif is_known:
                row = _row(profile, decoded)
                row.t_ns = t_ns
                self.take(device, row)
            else:
                self._put_back(held, decoded, device, t_ns, False)
        made, self._hold, self.entries = self.entries, hold, before
        return made

    def _put_back(self, held: Held, decoded: wire.RowLine, series: str, t_ns: int, is_known: bool) -> None:
        """The row as it was, but for its time."""
        fields = dict(decoded.fields) | ({} if is_known else {"clk": 0})
        t_ns = self._later(series, t_ns)
        line = wire.encode_row(decoded.kind, decoded.tags, fields, t_ns)
        self.entries.append(Entry(held.lane, t_ns, line, False))

    def end_hold(self) -> None:
        self._hold = None

    def _queue(self, outputs: Iterable[Output], tags: dict[str, str] | None = None) -> None:
        for out in outputs:
            t_ns = self._later("event", out.t_ns) if out.kind == "event" else out.t_ns
            base = tags if tags is not None else self._tags[out.device or ""]
            fields = out.fields
            if digits := wire.DIGITS.get(out.kind):
                fields = {name: _rounded(value, digits.get(name)) for name, value in fields.items()}
            line = wire.encode_row(out.kind, {**base, **out.tags}, fields, t_ns)
            self.entries.append(Entry(wire.lane_of(out.kind), t_ns, line, False))

    def last_ns(self, device: str) -> int | None:
        """Of its newest row; None where there is none."""
        return self._last_ns.get(device)

    def newest_ns(self) -> int:
        """The latest instant that any row carries; 0 before the first. [ns, UTC]"""
        return max(self._last_ns.values(), default=0)

    def _later(self, series: str, t_ns: int) -> int:
        t_ns = max(t_ns, self._last_ns.get(series, -1) + 1)
        self._last_ns[series] = t_ns
        return t_ns

    def checkpoint(self) -> bytes:
        """State of the computations after every row taken so far."""
        states = {name: base64.b64encode(state).decode() for name, state in self._compute.states().items()}
        saved = {
            "last_ns": self._last_ns,
            "aboard": self._aboard,
            "layout": self._compute.layout,
            "states": states,
            "meters": self._compute.meters,
        }
        return json.dumps(saved | {"proofs": self._proofs.states()}).encode()

    def resume(self, checkpoint: bytes | None, lines: Iterable[str]) -> int:
        """Stand where the last run stood; what it already emitted is not emitted again.

        Returns: rows replayed.
        """
        anew: set[str] = set()
        if checkpoint is not None:
            saved = json.loads(checkpoint)
            self._last_ns = saved["last_ns"]
            self._aboard = {device: (vessel, t_ns) for device, (vessel, t_ns) in saved.get("aboard", {}).items()}
            self._proofs.restore(saved.get("proofs", {}))
            if saved["layout"] == self._compute.layout:
                states = {name: base64.b64decode(text) for name, text in saved["states"].items()}
                anew = self._compute.restore(states, saved.get("meters", {}))
            else:  # another version of the kernels: begin again, and say so
                log.warning(
                    "event=state_of_another_version layout=%s now=%s", saved["layout"], self._compute.layout
                )
        for name in sorted(anew):
            log.warning("event=another_meter device=%s hint='counted in a new epoch from its first row'", name)
        self.has_other_meters = bool(anew)
        replayed = 0
        for line in lines:
            decoded = wire.decode_row(line)
            device = decoded.tags["device"]
            profile = self._profiles.get(device)
            if profile is None or profile.kind != decoded.kind:
                continue  # the device has left the site file since
            if device in anew:  # a row of the meter before
                self._last_ns[device] = max(self._last_ns.get(device, 0), decoded.t_ns)
                continue
            row = _row(profile, decoded)
            if "late" in decoded.fields:
                told = self._compute.feed_late(device, row, decoded.tags.get("vessel", ""))
            else:
                self._last_ns[device] = row.t_ns
                told = self._proofs.judge(device, row)
                self._note_vessel(device, row)
                told += self._compute.feed(device, row)
            for out in told:
                if out.kind == "event":
                    self._later("event", out.t_ns)
            replayed += 1
        return replayed


def _weakest(loaded: LoadedSite) -> str:
    """Origin of rows about the whole gateway: real only where every device is."""
    origins = {device.origin for device in loaded.site.device}
    return next(o for o in ("test", "sim", "replay", "real") if o in origins)


class _Plain:
    """Gives numbers the form in which they travel, in place, before anything computes with them.

    What travels as a whole number is rounded, as a counter in float32 kWh. A float32 becomes the shortest decimal
    number to which it is the nearest: 230.1 instead of 230.10000610351562, which is longer and says no more.
    """

    def __init__(self, profile: Profile) -> None:
        self._whole = profile.rounded
        single = [
            i for i, p in enumerate(profile.points)
            if p.type == "float32" and p.scale == 1.0 and p.scale_from is None and i not in self._whole
        ]  # fmt: skip
        self._single = np.array(single, np.intp)

    def __call__(self, row: Row) -> None:
        if self._whole:
            row.values[self._whole] = np.rint(row.values[self._whole])
        known = self._single[np.isfinite(row.values[self._single])]
        if known.size:
            row.values[known] = _shortest(row.values[known])


def _rounded(value: wire.Value, digits: int | None) -> wire.Value:
    return round(value, digits) if isinstance(value, float) and digits is not None else value


def _shortest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nine digits tell every float32 apart; seven do in most cases."""
    single = values.astype(np.float32)
    if not np.array_equal(single, values):  # more than a float32 holds: not ours to shorten
        return values
    short = np.array([float(f"{value:.7g}") for value in values.tolist()])
    for digits in (8, 9):
        longer = short.astype(np.float32) != single
        if not longer.any():
            break
        short[longer] = [float(f"{value:.{digits}g}") for value in values[longer].tolist()]
    return short


def _fields(profile: Profile, row: Row, trusted: bool) -> dict[str, wire.Value]:
    fields: dict[str, wire.Value] = {}
    values, quality = row.values.tolist(), row.quality.tolist()
    doubt = not _NO_DOUBT.issuperset(quality)
    for i, point in enumerate(profile.points):
        if i in row.text:
            fields[point.name] = row.text[i]
        elif values[i] == values[i]:  # not NaN
            fields[point.name] = int(values[i]) if i in profile.whole else values[i]
    if doubt or not fields:
        fields["q"] = "".join(f"{q:x}" for q in quality)
    if not trusted:
        fields["clk"] = 0
    return fields


def _row(profile: Profile, line: wire.RowLine) -> Row:
    """The row that `_fields` was made of, bit by bit."""
    row = empty_row(len(profile.points), line.t_ns, Quality.NOT_SCANNED)
    quality = line.fields.get("q")
    for name, value in line.fields.items():
        i = profile.index.get(name)
        if i is None:
            continue
        row.quality[i] = Quality.GOOD
        row.scan = profile.points[i].scan
        if isinstance(value, str):
            row.text[i] = value
        else:
            row.values[i] = value
    if isinstance(quality, str) and len(quality) == len(profile.points):
        row.quality[:] = [int(digit, 16) for digit in quality]
        scans = [profile.points[i].scan for i in np.flatnonzero(row.quality != Quality.NOT_SCANNED)]
        row.scan = "live" if "live" in scans or not scans else scans[0]
    return row
