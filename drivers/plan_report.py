"""What a site's plans cost, before anything is sent: every request, the bus time of each scan class, the load of
each connection or line, and what to slow down where that is too much."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from drivers.cost import ROUND_TRIP_S, SERIAL, TURNAROUND_S, Cost, Line
from drivers.learned import Learned
from drivers.plan import Block, plan
from drivers.profile import Profile

TIGHT = 0.8  # of a line's time; above it a few repeated requests already delay scans
AIM = 0.7  # what a remedy leaves


@dataclass(frozen=True, slots=True)
class Asked:
    """A device as its site file has it.

    Attributes:
        where: Its address, as a person writes it.
        bus: What devices have in common that share a connection or a line.
        line: What a request costs there; None for OPC UA, which has no registers.
        intervals_s: Seconds between two scans of each scan class.
        max_requests_per_s: Agreed with the owner of the PLC; 0 where nothing is.
    """

    name: str
    profile: Profile
    where: str
    bus: str
    line: Line | None
    intervals_s: Mapping[str, float]
    learned: Learned | None = None
    max_requests_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a scan class. `registers` are bits where the table has bits, nodes for OPC UA."""

    table: str
    first: int | None
    last: int | None
    registers: int
    used: int
    bridged: int
    points: tuple[str, ...]
    bus_s: float


@dataclass(frozen=True, slots=True)
class ScanReport:
    scan: str
    interval_s: float
    requests: tuple[Request, ...]

    @property
    def bus_s(self) -> float:
        """How long the connection or line is busy with one scan. [s]"""
        return sum(request.bus_s for request in self.requests)

    @property
    def load(self) -> float:
        return self.bus_s / self.interval_s

    @property
    def requests_per_s(self) -> float:
        return len(self.requests) / self.interval_s


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """`set_aside`: points that commissioning found refused, so nobody asks for them."""

    name: str
    model: str
    where: str
    bus: str
    scans: tuple[ScanReport, ...]
    set_aside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slower:
    """A remedy: scan a class of a device every `to_s` instead of `from_s` seconds."""

    device: str
    scan: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class BusReport:
    """A connection or line with all its devices.

    Attributes:
        load: Share of its time that it is busy; above 1 scans are late for ever.
        state: `fine`, `tight` (above 80 %) or `too_much`.
        slower: What to change where it is too much.
    """

    bus: str
    devices: tuple[str, ...]
    is_serial: bool
    requests_per_s: float
    max_requests_per_s: float
    load: float
    state: Literal["fine", "tight", "too_much"]
    slower: tuple[Slower, ...]


@dataclass(frozen=True, slots=True)
class SiteReport:
    devices: tuple[DeviceReport, ...]
    buses: tuple[BusReport, ...]

    @property
    def too_much(self) -> bool:
        return any(bus.state == "too_much" for bus in self.buses)


def report(devices: Sequence[Asked], turnaround_s: float = TURNAROUND_S) -> SiteReport:
    """Plan every scan class of every device, and add up what they cost where they share a connection.

    Args:
        turnaround_s: What a serial device is taken to need before it answers. [s]

    Raises: ProfileError, for a point that cannot be read as its profile says.
    """
    reports = {asked.name: _device(asked, turnaround_s) for asked in devices}
    buses: dict[str, list[Asked]] = {}
    for asked in devices:
        buses.setdefault(asked.bus, []).append(asked)
    return SiteReport(tuple(reports.values()), tuple(_bus(bus, on_it, reports) for bus, on_it in buses.items()))


def _device(asked: Asked, turnaround_s: float) -> DeviceReport:
    profile, set_aside, scans = asked.profile, [], []
    for scan in profile.scans:
        if asked.line is None:
            names = tuple(point.name for point in profile.points if point.scan == scan)
            requests = [Request("opcua", None, None, len(names), len(names), 0, names, ROUND_TRIP_S)]
        else:
            cost = Cost.of(asked.line, turnaround_s)
            made = plan(profile, scan, cost, asked.learned)
            requests = [_request(profile, b, c, cost) for b, c in zip(made.blocks, made.points, strict=True)]
            set_aside += [profile.points[i].name for i in made.refused]
        scans.append(ScanReport(scan, asked.intervals_s[scan], tuple(requests)))
    return DeviceReport(asked.name, profile.model, asked.where, asked.bus, tuple(scans), tuple(set_aside))


def _request(profile: Profile, block: Block, carried: Sequence[int], cost: Cost) -> Request:
    points = [profile.points[i] for i in carried]
    factors = [profile.points[profile.index[p.scale_from]] for p in points if p.scale_from is not None]
    used = {a for part in [*points, *factors] for a in range(part.address or 0, (part.address or 0) + part.words)}
    last = block.address + block.count - 1
    seconds = cost.block_s(block.count, block.is_bits)
    names = tuple(point.name for point in points)
    return Request(
        block.table, block.address, last, block.count, len(used), block.count - len(used), names, seconds
    )


def _bus(bus: str, devices: Sequence[Asked], reports: Mapping[str, DeviceReport]) -> BusReport:
    scans = [(asked.name, scan) for asked in devices for scan in reports[asked.name].scans]
    load = sum(scan.load for _, scan in scans)
    per_s = sum(scan.requests_per_s for _, scan in scans)
    agreed = min((asked.max_requests_per_s for asked in devices if asked.max_requests_per_s), default=0.0)
    by_time = {(name, scan.scan): scan.load for name, scan in scans}
    by_number = {(name, scan.scan): scan.requests_per_s / agreed for name, scan in scans} if agreed else {}
    worst = max(by_time, by_number, key=lambda shares: sum(shares.values()))
    share = sum(worst.values())
    intervals = {(name, scan.scan): scan.interval_s for name, scan in scans}
    names = tuple(asked.name for asked in devices)
    is_serial = any(asked.line is not None and asked.line.transport in SERIAL for asked in devices)
    if share > 1.0:
        return BusReport(bus, names, is_serial, per_s, agreed, load, "too_much", _slower(worst, intervals))
    return BusReport(bus, names, is_serial, per_s, agreed, load, "tight" if share > TIGHT else "fine", ())


def _slower(
    shares: Mapping[tuple[str, str], float], intervals: Mapping[tuple[str, str], float]
) -> tuple[Slower, ...]:
    """The fewest scan classes to slow down, the heaviest first, all by the same factor of ten at most."""
    heaviest = sorted(shares, key=lambda key: -shares[key])
    for n in range(1, len(heaviest) + 1):
        chosen = heaviest[:n]
        left = AIM - sum(shares[key] for key in heaviest[n:])
        factor = sum(shares[key] for key in chosen) / left if left > 0.0 else math.inf
        if factor <= 10.0 or n == len(heaviest):
            return tuple(Slower(*key, intervals[key], _rounded_up(intervals[key] * factor)) for key in chosen)
    return ()


def _rounded_up(seconds: float) -> float:
    """A number that a person would write: 1.2, 5, 30, 150."""
    step = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return round(math.ceil(seconds / step - 1e-9) * step, 6)
