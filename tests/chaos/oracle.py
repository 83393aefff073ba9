"""Judges a run: every sealed row against what the store holds, and every computed row against its like."""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos import site
from chaos.journal import Journal

from edge import wire
from edge.compute import Compute
from edge.config import LoadedSite
from edge.meter import EVENTS, Meter
from edge.pipeline import _row
from edge.wire import RowLine
from gateway.book import Refused
from gateway.store import Store

NS = 10**9
MINUTE_NS = 60 * NS
FOREVER = (0, 2**62)
Key = tuple[str, tuple[tuple[str, str], ...], int]  # kind, tags, time
Fields = Mapping[str, wire.Value]
EXAMPLES = 3  # of each complaint


@dataclass
class Verdict:
    """What was found of one gateway. All is well if there is no complaint."""

    gateway: str
    sealed: int = 0
    stored: int = 0
    refused: int = 0
    dropped: int = 0
    lost: int = 0
    doubled: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def complain(self, what: str, found: Sequence[object]) -> None:
        if found:
            shown = "; ".join(str(each)[:300] for each in found[:EXAMPLES])
            self.complaints.append(f"{self.gateway}: {what}: {len(found)}: {shown}")


def key_of(row: RowLine) -> Key:
    return row.kind, tuple(sorted(row.tags.items())), row.t_ns


def judge_ledger(
    gateway: str, journal: Journal, held: Mapping[Key, Fields], refused: Iterable[Refused]
) -> Verdict:
    """Sealed = stored + refused + dropped, row by row; what the spool itself counted must say the same.

    An empty text is as good as none: no store tells them apart.
    """
    verdict = Verdict(gateway, sealed=journal.untimed, dropped=journal.untimed)
    own = {(r.batch, r.text) for r in refused if r.gateway == gateway and r.spool == journal.spool}
    seen: set[Key] = set()
    twice, lost, wrong = [], [], []
    for sealed in journal.rows:
        row = wire.decode_row(sealed.line)
        key = key_of(row)
        if key in seen:
            twice.append(sealed.line)
        seen.add(key)
        found = held.get(key)
        verdict.sealed += 1
        if found is not None and found == {name: value for name, value in row.fields.items() if value != ""}:
            verdict.stored += 1
        elif found is not None:
            wrong.append((sealed.line, found))
        elif (sealed.batch, sealed.line) in own:
            verdict.refused += 1
        elif sealed.dropped:
            verdict.dropped += 1
        else:
            lost.append(sealed.line)
    strangers = [key for key in held if key not in seen]
    verdict.lost, verdict.doubled = len(lost) + len(wrong), len(strangers) + len(twice)
    verdict.complain("rows lost", lost)
    verdict.complain("rows stored with other values", wrong)
    verdict.complain("rows sealed twice under one series and instant", twice)
    verdict.complain("rows stored that were never sealed", strangers)
    tally = journal.tally
    verdict.complain("numbers of rows that the spool has forgotten", [0] * journal.missing)
    if tally.sealed != verdict.sealed or tally.waiting:
        verdict.complain("the spool's own books do not fit", [tally])
    # A batch may be stored although it is dropped or its first writing was refused: its receipt was on the way.
    if (
        not tally.stored <= verdict.stored + verdict.refused
        or tally.refused > len(own)
        or verdict.dropped > tally.dropped
    ):
        verdict.complain(
            "the spool's own books promise more than there is", [tally, verdict.stored, verdict.refused]
        )
    return verdict


def held_rows(store: Store, loaded: LoadedSite) -> dict[Key, Fields]:
    """Every row that the store has of a gateway, with its fields and their types."""
    kinds: dict[str, dict[str, wire.FieldType]] = {
        kind: {**fields, **wire.EVERY_ROW} for kind, fields in wire.COMPUTED.items()
    }
    for profile in loaded.profiles.values():
        kinds.setdefault(profile.kind, dict(wire.EVERY_ROW)).update({p.name: p.wire_type for p in profile.points})
    found: dict[Key, Fields] = {}
    own = loaded.site.site
    for kind, types in kinds.items():
        columns = store.columns(
            kind, None, list(types), *FOREVER, own.name, gateway=own.gateway, all_revisions=True
        )
        values = {name: _values(columns, name, type_) for name, type_ in types.items()}
        for i in range(len(columns)):
            tags = tuple(sorted((tag, column[i]) for tag, column in columns.tags.items() if column[i]))
            fields = {name: column[i] for name, column in values.items() if column[i] is not None}
            found[kind, tags, int(columns.t_ns[i])] = fields
    return found


def _values(columns: object, name: str, type_: wire.FieldType) -> list[wire.Value | None]:
    if type_ == "str":
        return list(columns.text[name])  # type: ignore[attr-defined]
    if type_ == "int":
        return [None if v == -(2**63) else v for v in columns.whole(name).tolist()]  # type: ignore[attr-defined]
    return [None if v != v else v for v in columns[name].tolist()]  # type: ignore[index]


def recompute(journal: Journal, loaded: LoadedSite) -> tuple[Compute, list[RowLine]]:
    """The sealed rows of the devices once more, in one go, as if nobody had ever died."""
    compute, made = Compute(loaded), []
    tags = {
        d.name: {"site": site.SITE, "gateway": loaded.site.site.gateway, "origin": d.origin}
        for d in loaded.site.device
    }
    for sealed in journal.rows:
        if not sealed.replay:
            continue
        line = wire.decode_row(sealed.line)
        device = line.tags["device"]
        row = _row(loaded.profiles[device], line)
        if "late" in line.fields:  # from before what was there already: energy is revised by it
            found = compute.feed_late(device, row, line.tags.get("vessel", ""))
        else:
            compute.vessel_of(device, row)
            found = compute.feed(device, row)
        for out in found:
            own = tags[out.device or device] | {"device": out.device or device} | out.tags
            made.append(wire.decode_row(wire.encode_row(out.kind, own, out.fields, out.t_ns)))
    return compute, made


def judge_computations(verdict: Verdict, journal: Journal, loaded: LoadedSite, guesses: bool) -> None:
    """What the agent computed between its deaths is what one run over the same rows computes; so is its state.

    Args:
        guesses: It has booted while its clock was set wrong: how long that took no clock can tell.
    """
    compute, made = recompute(journal, loaded)
    units = {row.kind for row in made} | set(wire.REVISED) | {"soc", "lock_trend"}
    units.discard("event")
    sealed = [wire.decode_row(s.line) for s in journal.rows if not s.replay]
    ours = {key_of(row): row.fields for row in sealed if row.kind in units}
    again = {key_of(row): row.fields for row in made if row.kind in units}
    verdict.figures["computed rows"] = len(again)
    verdict.complain("computed rows that a recomputation does not have", [k for k in ours if k not in again])
    verdict.complain("computed rows that only a recomputation has", [k for k in again if k not in ours])
    differing = [(k, ours[k], again[k]) for k in ours if k in again and not _alike(ours[k], again[k])]
    verdict.complain("computed rows that a recomputation makes differently", differing)
    codes = {row.tags["code"] for row in made if row.kind == "event"}
    told = Counter(_event(row) for row in sealed if row.kind == "event" and row.tags["code"] in codes)
    told.subtract(_event(row) for row in made if row.kind == "event")
    verdict.complain("events told more or less often than by a recomputation", [e for e, n in told.items() if n])
    if journal.checkpoint is not None:
        saved = json.loads(journal.checkpoint)
        now = Compute(loaded)
        now.restore({name: b64decode(text) for name, text in saved["states"].items()}, saved["meters"])
        odd = [name for name, state in compute.states().items() if now.states()[name] != state]
        verdict.complain("states that differ from a recomputation's", odd)
    _judge_energy(verdict, compute, ours, sealed, journal, guesses)


def _alike(ours: Fields, again: Fields) -> bool:
    """Whole numbers and texts to the last digit, fractions to 1e-9 of their size."""
    if ours.keys() != again.keys():
        return False
    for name, value in ours.items():
        other = again[name]
        if isinstance(value, float) and isinstance(other, float):
            if abs(value - other) > 1e-9 * max(1.0, abs(value)):
                return False
        elif value != other:
            return False
    return True


def _event(row: RowLine) -> tuple[object, ...]:
    """Without its time: an event steps aside by nanoseconds for another."""
    return row.tags.get("device"), row.tags["code"], row.tags.get("point"), tuple(sorted(row.fields.items()))


def _judge_energy(
    verdict: Verdict, compute: Compute, minutes: Mapping[Key, Fields], sealed: Sequence[RowLine],
    journal: Journal, guesses: bool,
) -> None:  # fmt: skip
    """Of each meter: its minutes, and those still open, add up to what its register moved, to the Wh."""
    for name, unit in compute._units.items():
        if not isinstance(unit, Meter):
            continue
        device = name.removeprefix("meter ")
        readings = list(register_readings(journal, device))
        own = [f for (kind, tags, _), f in minutes.items() if kind == "energy_1m" and ("device", device) in tags]
        state = unit._state[0]
        open_wh = int(state["bins"]["wh"][: int(state["count"]), 0].sum())
        if state["silent_next_ns"] < state["silent_to_ns"]:
            open_wh += int(state["silent_wh"][0])
        counted_wh = sum(int(f["import_wh"]) for f in own) + open_wh
        moved_wh = readings[-1][1] - readings[0][1] if readings else 0
        epochs = {int(f["epoch"]) for f in own}
        verdict.figures[f"{device} Wh"] = moved_wh
        if guesses and len(epochs) > 1:  # time stood still while energy flowed: told as such, and not counted
            codes = {
                row.tags["code"] for row in sealed if row.kind == "event" and row.tags.get("device") == device
            }
            verdict.figures[f"{device} Wh between epochs"] = moved_wh - counted_wh
            if counted_wh > moved_wh or not codes & set(EVENTS.values()):
                verdict.complain(f"{device}: new epochs without a word, or more energy than there was", [codes])
        elif counted_wh != moved_wh or len(epochs) > 1:
            verdict.complain(f"{device}: minutes have {counted_wh} Wh, its register moved", [moved_wh, epochs])


def register_readings(journal: Journal, device: str) -> Iterator[tuple[int, int]]:
    """(time, import register) of each sealed row of a meter that knows it."""
    for sealed in journal.rows:
        if sealed.replay and f",device={device}," in sealed.line and "energy_import_total_wh=" in sealed.line:
            row = wire.decode_row(sealed.line)
            yield row.t_ns, int(row.fields["energy_import_total_wh"])


def judge_coverage(
    verdict: Verdict, held: Mapping[Key, Fields], meters: Iterable[str], deaths: Sequence[tuple[int, int]]
) -> None:
    """While the agent was dead, no minute has coverage: silence is no energy of unknown shape made up.

    Args:
        deaths: When nobody polled, in simulated time. [ns]
    """
    wrong, dead_s = [], 0.0
    for device in meters:
        minutes = {
            key[2]: float(fields["covered_s"])
            for key, fields in held.items()
            if key[0] == "energy_1m" and ("device", device) in key[1] and ("rev", "0") in key[1]
        }
        for start_ns, stop_ns in deaths:
            if stop_ns - start_ns <= site.MAX_GAP_S * NS:
                continue  # power may bridge it
            dead_s += (stop_ns - start_ns) / NS
            for minute_ns in range(start_ns // MINUTE_NS * MINUTE_NS, stop_ns, MINUTE_NS):
                if minute_ns not in minutes:
                    continue  # before the first row, or after the last
                hidden_s = (min(stop_ns, minute_ns + MINUTE_NS) - max(start_ns, minute_ns)) / NS
                if minutes[minute_ns] > 60.0 - hidden_s + 1e-6:
                    wrong.append((device, minute_ns, minutes[minute_ns], hidden_s))
    verdict.figures["meter seconds dead"] = dead_s
    verdict.complain("minutes covered while nobody polled", wrong)


def load(folder: Path) -> LoadedSite:
    return LoadedSite.load(folder / "site.toml")
