"""The middle of the page: what the broker says goes into `Live` and `Alarms`, what changed goes to all who look.

A quarter of a second is a tick: devices that changed or went stale are written once as JSON, and the same bytes go
to every client that may see their site. A client that does not read loses its stream, and gets all anew when it
comes back.
"""

import asyncio
import json
import logging
import math
import os
import socket
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.mqtt import Connection
from edge.wire import (
    COMPUTED,
    RowLine,
    WireError,
    decode_batch,
    decode_catalogue,
    decode_row,
    inflate,
    parse_topic,
    topic,
)
from gateway.book import Book
from gateway.config import BrokerSettings
from gateway.errors import StoreError, StoreUnavailable
from gateway.live import NS, Device, Key, Live, is_stale
from gateway.perimeter import Group
from gateway.store import Store
from gateway.web.alarm_book import AlarmBook
from gateway.web.alarms import Alarm, Alarms, Entry
from gateway.web.clock import WebClock
from gateway.web.month_cache import MonthCache
from gateway.web.notices import Notice
from gateway.web.people import User
from gateway.web.states import alarm_state, computed_state, gateway_state, ms

log = logging.getLogger(__name__)
TICK_S = 0.25
SIGN_OF_LIFE_S = 2.0  # a page that hears nothing for longer says so
STILL_S = 30.0  # how long somebody may go on looking who has been removed, or whose session has expired
MOST_ALARMS = 200  # of one message, the most urgent; the others are counted
MOST_WAITING = 64  # messages that a client may be behind
LOOK_BACK_NS = 3 * 86_400 * NS  # events of the store that a start catches up with


class Hub:
    """Live state and alarms of a shore side. Everything but store and book runs in the event loop."""

    def __init__(self, store: Store, book: Book, sites: tuple[str, ...], clock: WebClock) -> None:
        self.store, self.book, self.clock = store, book, clock
        self.live = Live(sites)
        self.journal = AlarmBook(book)
        self.alarms = Alarms(self.journal.entries())
        self.connection: Connection | None = None
        self.problem = ""  # why the book cannot be written now
        self.notices: Sequence[
            Notice
        ] = ()  # set once the journal has been caught up with: what is over is no news
        self._unwritten: list[Entry] = []
        self._sent: dict[Key, tuple[int, bool]] = {}  # device -> version and staleness of what was sent
        self._sent_gateways: dict[Key, int] = {}
        self._sent_alarms = self._sent_catalogues = -1
        self._clients: dict[asyncio.Queue[str | None], User] = {}
        self.reports = Path("reports")  # the folder whose reports the page lists
        self.groups: Sequence[Group] = ()  # sites shown together, in the order of the waterway
        self.months = MonthCache()
        self.contracts = ""  # text of the contracts' file, checked at the start; empty: there is none
        self.people_audit: Callable[[str, str, str], None] = lambda who, action, detail: None
        self.people_audited: Callable[[], list[tuple[int, str, str, str]]] = list
        self.live.on_event = self._hear
        for catalogue in book.catalogues():
            self.live.take_catalogue(catalogue)
        self._catch_up()

    # From the broker

    def connect(self, broker: BrokerSettings) -> Connection:
        """A subscribed connection that comes back by itself."""
        filters = [topic("+", "+", leaf) for leaf in ("data", "data-z", "status", "catalogue")]
        self.connection = Connection(
            broker.access(), f"bollard-web-{socket.gethostname()}-{os.getpid()}",
            lambda: connection.subscribe(filters), self.heard,
        )  # fmt: skip
        connection = self.connection
        connection.start()
        return connection

    def heard(self, name: str, payload: bytes) -> None:
        """A message of the broker. What cannot be read is ingest's to report: here it is passed over."""
        try:
            site, gateway, leaf = parse_topic(name)
            if leaf == "status":
                said = json.loads(payload)
                if isinstance(said, dict):
                    self.live.take_status(site, gateway, said)
            elif leaf == "catalogue":
                catalogue = decode_catalogue(payload)
                if (catalogue.site, catalogue.gateway) == (site, gateway):
                    self.live.take_catalogue(catalogue)
            elif leaf in ("data", "data-z"):
                header, lines = decode_batch(inflate(payload) if leaf == "data-z" else payload)
                if (header.site, header.gateway) == (site, gateway):
                    rows = [decode_row(line) for line in lines]
                    self.live.take(r for r in rows if (r.tags["site"], r.tags["gateway"]) == (site, gateway))
        except (WireError, ValueError, KeyError, TypeError, zlib.error) as error:
            log.debug("topic=%s passed over: %r", name, error)

    def _hear(self, row: RowLine) -> None:
        device = self.live.devices.get((row.tags["site"], row.tags.get("device", "")))
        period_ns = int(float(device.declared["interval_s"]) * NS) if device else 0
        entry = self.alarms.heard(row, period_ns)
        if entry is not None:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        self.alarms.apply(entry)
        self._unwritten.append(entry)
        alarm = self.alarms.alarms[entry.key]
        if self.notices and entry.action in ("begin", "told") and alarm.state != "shelved":
            zone = self.live.zones.get(entry.key[0], "Europe/Paris")
            state, simulated = alarm_state(alarm), self._simulated(alarm)
            for notice in self.notices:
                notice.take(state, zone, simulated)

    def _simulated(self, alarm: Alarm) -> bool:
        """Whether its event, or else its device or a device of its gateway, is of another origin than `real`."""
        if alarm.event:
            return decode_row(alarm.event).tags.get("origin") != "real"
        site, name = alarm.key[:2]
        devices = [d for d in self.live.devices.values() if d.site == site and name in (d.name, d.gateway)]
        origins = [d.origin or str(d.declared.get("origin", "")) for d in devices]
        return any(origin not in ("", "real") for origin in origins)

    def _catch_up(self) -> None:
        """Events that came while nobody was here: from the store, since the journal's last one of the site."""
        try:
            held = [s for s in self.store.series() if s.kind == "event"]
            for site in sorted({s.tags["site"] for s in held}):
                newest_ns = max(s.last_ns for s in held if s.tags["site"] == site)
                since_ns = max(self.alarms.last_event_ns.get(site, 0), newest_ns - LOOK_BACK_NS)
                for row in self.events(site, None, since_ns, newest_ns + 1):
                    self.live.take([row])
        except (StoreError, StoreUnavailable) as error:
            log.warning("%s; alarms of before this start are those of the journal", error)

    def events(self, site: str, device: str | None, start_ns: int, stop_ns: int) -> list[RowLine]:
        """Events of the store, the first first. Raises: StoreUnavailable, StoreError."""
        names = list(COMPUTED["event"])
        found = self.store.columns("event", device, names, start_ns, stop_ns, site)
        rows = []
        for i in range(len(found)):
            fields: dict[str, Any] = {}
            for name, kind in COMPUTED["event"].items():
                value = found.text[name][i] if kind == "str" else float(found[name][i])
                if isinstance(value, float):
                    if math.isnan(value):
                        continue
                    value = int(value) if kind == "int" else value
                if value is not None:
                    fields[name] = value
            tags = {tag: str(column[i]) for tag, column in found.tags.items() if column[i]}
            rows.append(RowLine("event", tags, fields, int(found.t_ns[i])))
        return rows

    # What people do

    async def act(self, entry: Entry) -> None:
        """An entry that somebody made: on disk first. Raises: StoreError, StoreUnavailable."""
        await self.write()
        await asyncio.to_thread(self.journal.append, [entry])
        self.alarms.apply(entry)

    async def write(self) -> None:
        """Journal what was heard. Raises: StoreError, StoreUnavailable; nothing is lost."""
        taken, self._unwritten = self._unwritten, []
        if not taken:
            return
        try:
            await asyncio.to_thread(self.journal.append, taken)
        except BaseException:
            self._unwritten = taken + self._unwritten
            raise

    # To those who look

    async def run(self) -> None:
        """Tick until cancelled."""
        quiet_s = 0.0
        while True:
            await asyncio.sleep(TICK_S)
            self._watch()
            try:
                await self.write()
                self.problem = ""
            except (StoreError, StoreUnavailable) as error:
                if not self.problem:
                    log.warning("%s; alarms are kept in memory meanwhile", error)
                self.problem = str(error)
            quiet_s += TICK_S
            if self._tell(quiet_s >= SIGN_OF_LIFE_S):
                quiet_s = 0.0

    def _watch(self) -> None:
        """Conditions that only this side can see: no rows, no gateway, shelvings that run out."""
        now_ns = self.clock.now_ns()
        for (site, name), gateway in self.live.gateways.items():
            if gateway.online is not None:
                self._own(now_ns, (site, name, "gateway_offline", ""), not gateway.online)
        for (site, name), device in self.live.devices.items():
            if device.newest_ns:
                silent = now_ns - device.newest_ns > 2 * device.limit_s(self.clock.speed) * NS
                gone = self._online(device) is False  # one alarm for the gateway is enough
                self._own(now_ns, (site, name, "stale", ""), silent and not gone)
        for entry in [*self.alarms.expired(now_ns), *self._gone(now_ns)]:
            self._take(entry)

    def _gone(self, now_ns: int) -> Iterator[Entry]:
        """Ends of alarms whose device its site no longer declares: nobody else will ever end them."""
        sites = {site for site, _ in self.live.devices}
        for key, alarm in self.alarms.alarms.items():
            place = key[:2]
            known = place in self.live.devices or place in self.live.gateways
            if alarm.active and key[1] and key[0] in sites and not known:
                yield Entry(now_ns, key, "end")

    def _own(self, now_ns: int, key: tuple[str, str, str, str], active: bool) -> None:
        entry = self.alarms.own(now_ns, key, active)
        if entry is not None:
            self._take(entry)

    def _online(self, device: Device) -> bool | None:
        gateway = self.live.gateways.get((device.site, device.gateway))
        return gateway.online if gateway else None

    def _tell(self, due: bool) -> bool:
        """Send what has changed; True if something was sent."""
        now_ns = self.clock.now_ns()
        changed: dict[Key, dict[str, Any]] = {}
        for key, device in self.live.devices.items():
            mark = device.version, is_stale(device, now_ns, self.clock.speed, self._online(device))
            if self._sent.get(key) != mark:
                self._sent[key] = mark
                changed[key] = self.device_state(device, mark[1])
        gateways = {
            key: gateway_state(g)
            for key, g in self.live.gateways.items()
            if self._sent_gateways.get(key) != g.version
        }
        for key, gateway in self.live.gateways.items():
            self._sent_gateways[key] = gateway.version
        alarms = self._sent_alarms != self.alarms.version
        catalogues = self._sent_catalogues != self.live.catalogues
        self._sent_alarms, self._sent_catalogues = self.alarms.version, self.live.catalogues
        if not (changed or gateways or alarms or catalogues or due):
            return False
        texts: dict[tuple[str, ...], str] = {}
        for queue, user in list(self._clients.items()):
            text = texts.get(user.sites)
            if text is None:
                said = self._frame(now_ns, user, changed, gateways, alarms, catalogues)
                text = texts[user.sites] = f"event: state\ndata: {_json(said)}\n\n"
            if queue.qsize() >= MOST_WAITING:
                self._clients.pop(queue)
                queue.put_nowait(None)  # too far behind: it comes back and gets all anew
            else:
                queue.put_nowait(text)
        return True

    def _frame(
        self, now_ns: int, user: User, devices: Mapping[Key, Any], gateways: Mapping[Key, Any],
        alarms: bool, catalogues: bool,
    ) -> dict[str, Any]:  # fmt: skip
        said: dict[str, Any] = {
            "now_ms": ms(now_ns),
            "broker": self.connection is not None and self.connection.connected,
            "problem": bool(self.problem),
            "unsent": any(notice.problem for notice in self.notices),
            "left_out": sum(notice.left_out for notice in self.notices),
            "devices": {"/".join(key): state for key, state in devices.items() if user.sees(key[0])},
            "gateways": {"/".join(key): state for key, state in gateways.items() if user.sees(key[0])},
        }
        if alarms:
            listed = self.alarms_of(user)
            said["alarms"] = [alarm_state(alarm) for alarm in listed[:MOST_ALARMS]]
            said["alarms_in_all"] = len(listed)
            said["asking"] = sum(alarm.state in ("unacknowledged", "returned") for alarm in listed)
            said["alarm_rate"] = self.alarms.rate(now_ns)
        if catalogues:
            said["catalogues"] = self.live.catalogues
        return said

    def everything(self, user: User) -> dict[str, Any]:
        """All that a page has to know at first."""
        now_ns = self.clock.now_ns()
        devices = {
            key: self.device_state(d, is_stale(d, now_ns, self.clock.speed, self._online(d)))
            for key, d in self.live.devices.items()
        }
        gateways = {key: gateway_state(g) for key, g in self.live.gateways.items()}
        return self._frame(now_ns, user, devices, gateways, alarms=True, catalogues=True)

    async def stream(self, user: User, still: Callable[[], bool] = lambda: True) -> AsyncIterator[str]:
        """Server-sent events for one client, the first with all. `still`: asked now and then, in a thread."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._clients[queue] = user
        asked_s = time.monotonic()
        try:
            yield f"retry: 1000\nevent: state\ndata: {_json(self.everything(user))}\n\n"
            while (text := await queue.get()) is not None:
                if time.monotonic() - asked_s > STILL_S:
                    if not await asyncio.to_thread(still):
                        return
                    asked_s = time.monotonic()
                yield text
        finally:
            self._clients.pop(queue, None)

    def close(self) -> None:
        """End all streams: a server that stops does not wait for its clients."""
        for queue in list(self._clients):
            queue.put_nowait(None)
        self._clients.clear()

    def sign_off(self, name: str) -> None:
        """End the streams of somebody who has signed out, or may no longer see."""
        for queue, user in list(self._clients.items()):
            if user.name == name:
                self._clients.pop(queue)
                queue.put_nowait(None)

    def device_state(self, device: Device, stale: bool) -> dict[str, Any]:
        why = "" if not stale else "offline" if self._online(device) is False else "silent"
        return {
            "t_ms": ms(device.newest_ns) if device.newest_ns else None,
            "stale": stale,
            "why": why if device.newest_ns else "never",
            "origin": device.origin or str(device.declared.get("origin", "")),
            "vessel": device.vessel,
            "readings": {n: [r.value, r.quality, ms(r.t_ns)] for n, r in device.readings.items()},
            "computed": {
                kind: computed_state(row) for kind, row in device.computed.items()
            },
        }  # fmt: skip

    def alarms_of(self, user: User) -> list[Alarm]:
        """Alarms that are not normal, those that need somebody first."""
        shown = [a for a in self.alarms.alarms.values() if a.state != "normal" and user.sees(a.key[0])]
        return sorted(shown, key=_urgency)

    def alarm_list(self, user: User) -> list[dict[str, Any]]:
        return [alarm_state(a) for a in self.alarms_of(user)]


def _urgency(alarm: Alarm) -> tuple[int, int, int]:
    order = {"unacknowledged": 0, "returned": 1, "acknowledged": 2, "suppressed": 3, "shelved": 4, "normal": 5}
    return order[alarm.state], ("high", "medium", "low").index(alarm.priority), -alarm.since_ns


def _json(said: Mapping[str, Any]) -> str:
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
