"""Which profile a device has: read with each, and judged by what comes; and what would make a wrong one right."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from drivers.codec import Decoder
from drivers.errors import DeviceRefused, DeviceUnreachable, DriverError, ProfileError, ReadingRejected
from drivers.plan import Block, plan
from drivers.plausible import Finding, Plausible, Wiring
from drivers.probe import Asker, Enough, Hint, Span
from drivers.profile import Point, Profile, load_profile, shipped_profiles
from drivers.row import Quality, Row, empty_row
from drivers.sunspec import discover

TINIEST, HUGEST = 1e-6, 1e12  # a float outside of it is no measurement; those of swapped words seldom are inside
BAD = (Quality.OUT_OF_RANGE, Quality.TOO_LARGE, Quality.NONSENSE, Quality.REFUSED, Quality.NO_ANSWER)
CHECK = 3.0  # points that a check of physics counts for: chance passes few of them
EVIDENCE, ON_PLATE = 0.01, 0.5  # for each point that speaks: of two that fit, the one that explains more
BETTER = 0.25  # of all there is to get, before another order or address is proposed
SWAPS = {  # what may be wrong with an order: name -> from what it is to what it would be
    "": {order: order for order in ("abcd", "cdab", "badc", "dcba")},
    "words": {"abcd": "cdab", "cdab": "abcd", "badc": "dcba", "dcba": "badc"},
    "bytes": {"abcd": "badc", "cdab": "dcba", "badc": "abcd", "dcba": "cdab"},
    "both": {"abcd": "dcba", "cdab": "badc", "badc": "cdab", "dcba": "abcd"},
}


class Memory:
    """Answers to blocks, each asked for once: from what was read already, else from the device."""

    def __init__(self, asker: Asker, span: Span | None = None) -> None:
        self._asker, self._span = asker, span
        self._answers: dict[Block, bytes | Quality] = {}

    async def block(self, block: Block) -> bytes | Quality:
        """Its bytes, or the quality of what is not there. Raises: Enough."""
        if block not in self._answers:
            self._answers[block] = self._known(block) or await self._asked(block)
        return self._answers[block]

    def forget(self) -> None:
        self._answers.clear()
        self._span = None

    def _known(self, block: Block) -> bytes | Quality | None:
        span, wanted = self._span, range(block.address, block.address + block.count)
        if span is None or block.is_bits or span.table != block.table:
            return None
        if any(span.missing.get(a, "not_asked") != "not_asked" for a in wanted):
            return Quality.REFUSED
        if not all(a in span.words for a in wanted):
            return None
        return b"".join(span.words[a].to_bytes(2, "big") for a in wanted)

    async def _asked(self, block: Block) -> bytes | Quality:
        try:
            return await self._asker.read(block.table, block.address, block.count)
        except DeviceRefused:
            return Quality.REFUSED
        except ReadingRejected:
            return Quality.NONSENSE
        except DeviceUnreachable:
            return Quality.NO_ANSWER


@dataclass
class Reading:
    """A device as a profile reads it.

    Attributes:
        row: All scan classes together.
        words: Registers of each point, as they came; None where they did not.
        answered: Requests that were.
        doubts: Position of a point -> why it cannot be right: a quality's name in small letters, `no_number`
            for a float that nothing measures, or the name of a check.
    """

    profile: Profile
    row: Row
    words: list[bytes | None]
    asked: int
    answered: int
    findings: list[Finding] = field(default_factory=list)
    doubts: dict[int, str] = field(default_factory=dict)

    @property
    def passed(self) -> list[str]:
        return list(dict.fromkeys(f.check for f in self.findings if f.passed))

    @property
    def failed(self) -> list[Finding]:
        return [f for f in self.findings if not f.passed]

    @property
    def speaking(self) -> int:
        """Points that are a number other than 0, or a text, and nothing speaks against them."""
        return sum(
            i not in self.doubts and (i in self.row.text or bool(self.row.values[i])) and self._is_known(i)
            for i in range(len(self.profile.points))
        )

    def _is_known(self, i: int) -> bool:
        return i in self.row.text or not math.isnan(self.row.values[i])

    @property
    def score(self) -> float:
        """From 1, where all points speak and all checks pass, down to below 0."""
        checks = [CHECK if f.passed else -CHECK for f in self.findings]
        whole = len(self.profile.points) + CHECK * len(checks)
        return (self.speaking - 2.0 * len(self.doubts) + sum(checks)) / whole


async def read_with(profile: Profile, memory: Memory, wiring: Wiring = "3P4W") -> Reading:
    """Read all points of a profile. Raises: Enough; ProfileError, where it cannot be planned."""
    row = empty_row(len(profile.points), time.time_ns(), Quality.NOT_SCANNED)
    words: list[bytes | None] = [None] * len(profile.points)
    asked = answered = 0
    for scan in profile.scans:
        decoder = Decoder(profile, plan(profile, scan))
        answers = [await memory.block(block) for block in decoder.plan.blocks]
        part = decoder.decode(answers, row.t_ns)
        scanned = part.quality != Quality.NOT_SCANNED
        row.values[scanned], row.quality[scanned] = part.values[scanned], part.quality[scanned]
        row.text |= part.text
        for block, members, answer in zip(decoder.plan.blocks, decoder.plan.points, answers, strict=True):
            asked += 1
            if isinstance(answer, Quality):
                continue
            answered += 1
            for i in members if not block.is_bits else ():
                start = 2 * ((profile.points[i].address or 0) - block.address)
                words[i] = answer[start : start + 2 * profile.points[i].words]
    reading = Reading(profile, row, words, asked, answered)
    reading.findings = _findings(profile, row, wiring)
    reading.doubts = _doubts(reading)
    return reading


def _findings(profile: Profile, row: Row, wiring: Wiring) -> list[Finding]:
    if profile.kind != "meter":
        return []
    i = profile.index.get("frequency_hz")
    nominal_hz = 60.0 if i is not None and abs(row.values[i] - 60.0) <= 1.0 else 50.0
    return Plausible(profile, wiring, nominal_hz).findings(row)


def _doubts(reading: Reading) -> dict[int, str]:
    row, found = reading.row, {}
    for finding in reading.failed:
        found[reading.profile.index[finding.point]] = finding.check
    for i, point in enumerate(reading.profile.points):
        value = abs(row.values[i])
        if point.type.startswith("float") and (0 < value < TINIEST or value > HUGEST):
            found[i] = "no_number"
        if row.quality[i] in BAD:
            found[i] = Quality(int(row.quality[i])).name.lower()
    return found


async def remedies(reading: Reading, memory: Memory) -> list[Hint]:
    """What would make the readings plausible: another order of words or bytes, addresses one up or down.

    Raises: Enough, ProfileError.
    """
    if not reading.doubts:
        return []
    best, key, values = reading.score + BETTER, "", {}
    for shift in (0, -1, 1):
        for swap, orders in SWAPS.items():
            changed = variant(reading.profile, shift, orders)
            if changed is None or (not shift and not swap):
                continue
            other = await read_with(changed, memory)
            if other.score > best:
                best = other.score
                key = "_".join([*(["swapped", swap] if swap else []), *(["shifted"] if shift else [])])
                values = {
                    "shift": f"{shift:+d}", "order": _orders(changed), "before": len(reading.doubts),
                    "after": len(other.doubts), "points": len(reading.profile.points),
                }  # fmt: skip
    return [Hint(key, values)] if key else []


def variant(profile: Profile, shift: int, orders: dict[str, str]) -> Profile | None:
    """A profile with other addresses and orders; None where an address would leave its table."""

    def moved(point: Point) -> Point:
        several = point.words > 1 and point.type != "string"
        address = (point.address or 0) + shift
        return point.model_copy(
            update={"address": address, "order": orders[point.order] if several else point.order}
        )

    points = tuple(map(moved, profile.points))
    if any(not 0 <= (point.address or 0) <= 65_536 - point.words for point in points):
        return None
    return profile.model_copy(update={"point": points, "forbidden": () if shift else profile.forbidden})


def _orders(profile: Profile) -> str:
    return " / ".join(sorted({p.order for p in profile.points if p.words > 1 and p.type != "string"}))


@dataclass
class Match:
    """How well a profile fits, and why.

    Attributes:
        name: Of a shipped profile, or `SunSpec`.
        why: `read`, `refused` (its first request was), or `not_asked`.
        swap: What has to be swapped for that: `words`, `bytes`, `both`, or nothing.
    """

    name: str
    reading: Reading | None
    why: str = "read"
    on_plate: bool = False
    swap: str = ""

    @property
    def score(self) -> float:
        if self.reading is None:
            return -math.inf
        return self.reading.score + EVIDENCE * self.reading.speaking + (ON_PLATE if self.on_plate else 0.0)


async def matches(asker: Asker, span: Span | None = None, plate: Sequence[str] = ()) -> list[Match]:
    """Shipped Modbus profiles, the one that fits best first. A profile is left at its first refused request."""
    memory, found = Memory(asker, span), []
    try:
        profile = await discover(asker.read)
        found.append(Match("SunSpec", await read_with(profile, memory)))
    except (DriverError, ValueError):  # it has no SunSpec marker, or none of the models known
        pass
    shown = " ".join(plate).lower()
    profiles = {name: load_profile(name) for name in shipped_profiles()}
    named = {name: any(word in shown for word in _names(profile)) for name, profile in profiles.items()}
    for name, on_plate in sorted(named.items(), key=lambda item: not item[1]):  # in case the requests run out
        profile = profiles[name]
        if profile.protocol != "modbus":
            continue
        try:
            first = plan(profile, profile.scans[0]).blocks[0]
            if isinstance(await memory.block(first), Quality):
                found.append(Match(name, None, "refused", on_plate))
                continue
            found.append(
                await _best_order(Match(name, await read_with(profile, memory), "read", on_plate), memory)
            )
        except (Enough, ProfileError):
            found.append(Match(name, None, "not_asked", on_plate))
    return sorted(found, key=lambda match: -match.score)


async def _best_order(match: Match, memory: Memory) -> Match:
    """The same with other orders of words and bytes, where these fit much better. Costs no request."""
    assert match.reading is not None
    best = match
    for swap, orders in SWAPS.items():
        changed = variant(match.reading.profile, 0, orders) if match.reading.doubts and swap else None
        if changed is not None:
            other = replace(match, reading=await read_with(changed, memory), swap=swap)
            if other.score > max(best.score, match.score + BETTER):
                best = other
    return best


def _names(profile: Profile) -> list[str]:
    """Words of a model that no other maker has: those with a digit."""
    words = profile.model.lower().replace("/", " ").split()
    return [word for word in words if any(map(str.isdigit, word)) and len(word) > 3] + [profile.model.lower()]
