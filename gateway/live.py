"""What is known of every device now: the newest reading of each point, its quality, its age.

Fed with catalogues, status messages and rows as they pass the broker, before any database: a page shows them
within a second, and goes on when the database is away. What is late or older than what is known changes nothing.
Nothing here guesses: a point that is not in a row was not scanned, one whose quality is not good is unknown, and
all of it is stale once no row has come for three scan intervals.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.wire import QUALITY, Catalogue, RowLine, Value

NS = 1_000_000_000
LEAST_LIMIT_S = 5.0  # a flush, a batch and the broker take their time
NOT_SCANNED = "f"
GOOD = "good"
SHOWN_KINDS = (
    "soc",
    "link",
    "lock_phase",
    "energy_1m",
    "gateway",
)  # beside a device's own rows: the newest of each
Key = tuple[str, str]  # site, device


@dataclass(slots=True)
class Reading:
    """The newest word on a point. `value` is None where it was scanned and is unknown."""

    value: Value | None
    t_ns: int
    quality: str  # a name of edge.wire.QUALITY


@dataclass
class Device:
    """A device as its gateway's catalogue declares it, and what was heard of it since."""

    site: str
    gateway: str
    name: str
    declared: Mapping[str, Any]
    settings: Mapping[str, Any]
    readings: dict[str, Reading] = field(default_factory=dict)
    computed: dict[str, RowLine] = field(default_factory=dict)  # kind -> its newest row
    newest_ns: int = 0  # instant of the newest row of its own kind
    origin: str = ""
    vessel: str = ""
    version: int = 0  # counts up with every change

    @property
    def kind(self) -> str:
        return str(self.declared["kind"])

    @property
    def points(self) -> list[dict[str, Any]]:
        return list(self.declared["points"])

    def limit_s(self, speed: float) -> float:
        """Older than this is stale. A simulated hour that passes in a minute makes a second's delay a minute's."""
        return max(3.0 * float(self.declared["interval_s"]), LEAST_LIMIT_S * max(1.0, speed))


@dataclass
class Gateway:
    """What a gateway says of itself: retained at the broker, or its last will."""

    site: str
    name: str
    status: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0

    @property
    def online(self) -> bool | None:
        """None: it has not said anything."""
        state = self.status.get("state")
        return None if state is None else state == "online"


class Live:
    """All devices of the sites that are shown. One thread."""

    def __init__(self, sites: tuple[str, ...] = ()) -> None:
        self._sites = sites
        self.devices: dict[Key, Device] = {}
        self.gateways: dict[Key, Gateway] = {}
        self.berths: dict[str, list[Mapping[str, Any]]] = {}  # by site
        self.zones: dict[str, str] = {}  # site -> time zone
        self.catalogues = 0  # counts up when what is declared changes
        self.on_event: Callable[[RowLine], None] = lambda row: None

    def _shown(self, site: str) -> bool:
        return not self._sites or site in self._sites

    def take_catalogue(self, catalogue: Catalogue) -> None:
        """A gateway's own devices; those that it no longer names are gone, their history stays in the store."""
        if not self._shown(catalogue.site):
            return
        settings = catalogue.settings
        of_device = {d["name"]: d for d in settings.get("device", ())}
        before = {
            k for k, d in self.devices.items() if d.site == catalogue.site and d.gateway == catalogue.gateway
        }
        changed = False
        for declared in catalogue.devices:
            key = (catalogue.site, str(declared["name"]))
            before.discard(key)
            known = self.devices.get(key)
            if known is not None and known.declared == declared:
                continue
            made = Device(catalogue.site, catalogue.gateway, key[1], declared, of_device.get(key[1], {}))
            if known is not None:  # the same device with other points: what is known of it stays
                made.readings, made.computed = known.readings, known.computed
                made.newest_ns, made.origin, made.version = known.newest_ns, known.origin, known.version + 1
            self.devices[key] = made
            changed = True
        for key in before:
            del self.devices[key]
            changed = True
        self.berths[catalogue.site] = self._berths_with(catalogue)
        self.zones[catalogue.site] = str(settings.get("site", {}).get("timezone") or "Europe/Paris")
        self.gateways.setdefault((catalogue.site, catalogue.gateway), Gateway(catalogue.site, catalogue.gateway))
        if changed:
            self.catalogues += 1

    def _berths_with(self, catalogue: Catalogue) -> list[Mapping[str, Any]]:
        """Berths of the site: several gateways may each have some."""
        others = [b for b in self.berths.get(catalogue.site, ()) if b["gateway"] != catalogue.gateway]
        mine = [{**b, "gateway": catalogue.gateway} for b in catalogue.settings.get("berth", ())]
        return sorted([*others, *mine], key=lambda b: str(b["name"]))

    def take_status(self, site: str, gateway: str, status: Mapping[str, Any]) -> None:
        if not self._shown(site):
            return
        known = self.gateways.setdefault((site, gateway), Gateway(site, gateway))
        if known.status != status:
            known.status = status
            known.version += 1

    def take(self, rows: Iterable[RowLine]) -> None:
        """Rows of a batch, in any order, perhaps for the second time."""
        for row in rows:
            self._take(row)

    def _take(self, row: RowLine) -> None:
        if not self._shown(row.tags.get("site", "")):
            return
        if row.kind == "event":
            self.on_event(row)
            return
        device = self.devices.get((row.tags["site"], row.tags.get("device", "")))
        if device is None or "late" in row.fields:
            return
        if row.kind == device.kind:
            self._take_readings(device, row)
        elif row.kind in SHOWN_KINDS:
            newest = device.computed.get(row.kind)
            if newest is None or newest.t_ns < row.t_ns:
                device.computed[row.kind] = row
                device.version += 1

    @staticmethod
    def _take_readings(device: Device, row: RowLine) -> None:
        for name, value, quality in readings_of(device.points, row):
            known = device.readings.get(name)
            if known is None or known.t_ns < row.t_ns:
                device.readings[name] = Reading(value, row.t_ns, quality)
        if row.t_ns > device.newest_ns:
            device.newest_ns = row.t_ns
            device.origin = row.tags.get("origin", "")
            device.vessel = row.tags.get("vessel", "")
        device.version += 1


def readings_of(points: list[dict[str, Any]], row: RowLine) -> Iterator[tuple[str, Value | None, str]]:
    """Name, value and quality of every point that a row's scan has looked at."""
    digits = row.fields.get("q")
    known = isinstance(digits, str) and len(digits) == len(points)
    for i, point in enumerate(points):
        name = str(point["name"])
        value = row.fields.get(name)
        digit = str(digits)[i] if known else (NOT_SCANNED if value is None else "0")
        if digit != NOT_SCANNED:
            yield name, value, QUALITY.get(int(digit, 16), "unknown")


def is_stale(device: Device, now_ns: int, speed: float, online: bool | None) -> bool:
    """Whether what is known of a device has to look old: its gateway is gone, or no row has come for too long."""
    return online is False or now_ns - device.newest_ns > device.limit_s(speed) * NS
