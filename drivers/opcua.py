"""OPC UA: asyncua carries the messages; a fresh session per link, batched reads and at most one subscription.

A scan is the supervisor of its session: it notices what is lost, renews the secure channel and makes a silent
subscription anew. Of asyncua's own tasks (supervisor, watchdog, renewal, publish loop) none is started; ours is
one, it listens to publishes, and it ends with the link.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from asyncua import ua

from drivers.errors import DeviceRefused, DeviceUnreachable, ReadingRejected
from drivers.opcua_codec import Batch, Reads
from drivers.opcua_history import MOST_OFFSET_S, History
from drivers.opcua_session import Limits, Session, TooMany
from drivers.opcua_settings import OpcUaSettings
from drivers.opcua_subscription import Backoff, Watch
from drivers.profile import Profile
from drivers.row import Quality, Row, empty_row

TO_DO = {  # where the server knows the node, so that the profile is not to blame
    Quality.UNKNOWN: "the server has no value for it now",
    Quality.NO_ANSWER: "the server does not reach what is behind it",
}

HISTORY_WAIT_S = 60.0  # at least, before a server whose history cost the session is asked for it again


class OpcUaDevice:
    """A device to read: opens links, as many as are needed one after the other."""

    def __init__(
        self, profile: Profile, url: str, timeout_s: float = 4.0, settings: OpcUaSettings | None = None
    ) -> None:
        """Compile the reads of all scan classes.

        Args:
            profile: What the device offers.
            url: Endpoint of the server, as in `opc.tcp://10.20.0.7:4840`. Nothing is sent to it yet.
            timeout_s: Deadline of opening a session, and of each request. [s]
            settings: Security, subscription and history; with absolute paths.

        Raises: ProfileError, with a line for each node id that is none; ValueError for a password in the URL.
        """
        parts = urlsplit(url)
        if "@" in parts.netloc:
            shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
            raise ValueError(f"{shown}: user and password do not go into the URL; give username and password_file")
        self.profile = profile
        self.endpoint = url
        self.settings = settings or OpcUaSettings()
        if self.settings.security_policy != "None" and self.settings.key_file is None:
            raise ValueError("settings with a security_policy come from OpcUaSettings.beside(), with all paths")
        self.timeout_s = timeout_s
        self.reads = Reads(profile)
        self.limits = Limits()
        self.history_retry = Backoff(HISTORY_WAIT_S)
        self.trouble: dict[str, str] = {}  # outlives a link, so that a lasting fault is logged once
        by_choice = self.settings.subscribe
        self.subscribed = [
            index
            for index, point in enumerate(profile.points)
            if (point.read == "subscribe" if by_choice is None else by_choice is True)
            or (isinstance(by_choice, tuple) and point.name in by_choice)
        ]

    def open(self) -> "OpcUaLink":
        """A link, not connected before its `async with`."""
        return OpcUaLink(self)


class OpcUaLink(Session):
    """A session and what is read in it.

    Attributes:
        source_t_ns: When the source last had each point's value, 0 where it does not say. int64[n] [ns, UTC]
    """

    def __init__(self, device: OpcUaDevice) -> None:
        super().__init__(device.endpoint, device.timeout_s, device.settings, device.limits, device.trouble)
        profile = device.profile
        self.source_t_ns = np.zeros(len(profile.points), np.int64)
        self._points = profile.points
        self._reads = device.reads
        self._of_scan = {
            scan: tuple(i for i, point in enumerate(profile.points) if point.scan == scan)
            for scan in profile.scans
        }
        self._source_offset_s = math.nan  # the newest source time of the last scan, minus its time
        self._aside: dict[int, Backoff] = {}  # nodes that the server refuses
        self._watch: Watch | None = None
        if device.subscribed:
            self._watch = Watch(
                self, profile, device.subscribed, device.settings.publishing_s, device.settings.reread_s
            )
        self._told_ns = dict.fromkeys(profile.scans, 0)  # of the last row of each scan class
        self._history_retry = device.history_retry
        self._history = History(self, profile) if device.settings.history else None

    @property
    def set_aside(self) -> int:
        """Nodes that are asked for only now and then, since the server refuses them."""
        return len(self._aside)

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            if self._watch is not None:
                await self._watch.stop()
        finally:
            await super().__aexit__(*exc_info)

    async def scan(self, scan: str, now_ns: Callable[[], int]) -> Row:
        """All points of a scan class in one row: what the subscription holds, and a read for the rest.

        A held value counts only if the subscription has spoken since the last row, otherwise it is read: no
        value is repeated on trust; now and then each is read all the same. A node that the server refuses, or
        whose value has another type than the profile says, is unknown with that quality, and counted; the others
        stay good.

        Args:
            scan: A scan class of the profile.
            now_ns: Tells the time; asked when an answer has arrived. [ns, UTC]

        Returns: a row whose `t_ns` is the arrival of the last answer, or, where nothing had to be read, of the
        last publish.

        Raises: DeviceUnreachable.
        """
        row = empty_row(len(self._points), 0, Quality.NOT_SCANNED, scan)
        left = self._of_scan[scan]
        if self._watch is not None:
            await self._watch.keep(now_ns)
            held = self._watch.held(self._told_ns[scan])
            told = tuple(index for index in left if index in held)
            if told:
                told_ns = self._watch.spoke_ns
                for batch in self._reads.of(told, len(told)):
                    self._decode(batch, [held[index] for index in told], row)
                left = tuple(index for index in left if index not in held)
                again = self._watch.whose_turn(told)
                row.values[list(again)] = np.nan
                for index in again:
                    row.text.pop(index, None)
                await self._read_into(row, again, now_ns)
                row.t_ns = told_ns  # a point that is read by the way makes the row no younger
                self._watch.forget(index for index in again if row.quality[index] == Quality.REFUSED)
        asked = tuple(index for index in left if index not in self._aside or self._aside[index].due)
        row.quality[[index for index in left if index not in asked]] = Quality.REFUSED
        await self._read_into(row, asked, now_ns)
        row.t_ns = row.t_ns or now_ns()
        self._told_ns[scan] = row.t_ns
        self._compare_sources(row)
        return row

    @property
    def history_due(self) -> bool:
        """Whether history may be asked for: a server that took too long is left in peace for a while."""
        return self._history_retry.due

    async def history(self, from_ns: int, to_ns: int) -> list[Row]:
        """What the server has kept of the time between two instants, both left out; oldest first.

        Each row has the time of its source and its scan class is `history`; points of one source time share a
        row. A call is bounded in rows and in time and takes the newest: to go on, ask for what was before the
        first row that came, until nothing comes. The same interval gives the same rows. Empty where the server
        keeps no history, or where its clock is too far from ours for its times to be believed. Before the first
        scan of a link `to_ns` stands for now.

        Raises: DeviceUnreachable.
        """
        if self._history is None or not self._history_retry.due:
            return []
        try:
            rows = await self._past(self._history, from_ns, to_ns)
        except DeviceUnreachable:  # a server may take longer than we wait: then live values come first
            self._history_retry.fail()
            raise
        self._history_retry.succeed()
        return rows

    async def _past(self, history: History, from_ns: int, to_ns: int) -> list[Row]:
        offered = tuple(await history.offered())
        if not offered:
            return []
        if math.isnan(self._source_offset_s):  # nothing was scanned yet: what the clocks say is not known
            row = empty_row(len(self._points), 0, Quality.NOT_SCANNED)
            await self._read_into(row, offered, lambda: to_ns)
            self._compare_sources(row)
        if not any(abs(offset_s) <= MOST_OFFSET_S for offset_s in (self.clock_offset_s, self._source_offset_s)):
            self.tell(
                "history",
                f"{self.endpoint}: history is not read: the server's clock is {self.clock_offset_s:.0f} s from"
                " ours; set the clocks",
            )
            return []
        self.tell("history", "")
        return await history.rows(from_ns, to_ns)

    def _compare_sources(self, row: Row) -> None:
        newest_ns = int(self.source_t_ns[row.quality != Quality.NOT_SCANNED].max(initial=0))
        self._source_offset_s = (newest_ns - row.t_ns) / 1e9

    async def _read_into(self, row: Row, points: tuple[int, ...], now_ns: Callable[[], int]) -> None:
        for batch in self._reads.of(points, self.limits.read):
            what = str(batch)
            try:
                response = await self.ask(ua.ReadRequest(Parameters=batch.parameters), ua.ReadResponse, what)
                if len(response.Results) != len(batch.wanted):
                    self.faults["wrong_length"] += 1
                    raise ReadingRejected(f"{self.endpoint}: {what}: {len(response.Results)} results came")
            except TooMany as error:
                if len(batch.wanted) > 1:
                    self.limits.halve("read", len(batch.wanted))
                    await self._read_into(row, tuple(batch.points.tolist()), now_ns)
                    continue
                row.quality[batch.points] = Quality.REFUSED
                self.tell(what, str(error))
            except DeviceRefused as error:
                row.quality[batch.points] = Quality.REFUSED
                self.tell(what, str(error))
            except ReadingRejected as error:
                row.quality[batch.points] = Quality.NONSENSE
                self.tell(what, str(error))
            else:
                row.t_ns = now_ns()
                self.hear_clock(response.ResponseHeader, row.t_ns)
                self.tell(what, "")
                self._decode(batch, response.Results, row)
                self._set_aside(batch, row)

    def _decode(self, batch: Batch, results: Sequence[Any], row: Row) -> None:
        """Put results into the row, and tell what is wrong with them."""
        problems = batch.decode(results, row, self.source_t_ns)
        for index, point, problem in zip(batch.points.tolist(), batch.wanted, problems, strict=True):
            if problem:
                self.faults[problem.split(":")[0]] += 1
                todo = TO_DO.get(Quality(row.quality[index]), "compare the profile with the server")
                problem = f"{self.endpoint}: {point.name} ({point.node}): {problem}; {todo}"
            self.tell(point.name, problem)

    def _set_aside(self, batch: Batch, row: Row) -> None:
        """Ask ever less for nodes that the server refuses."""
        for index in batch.points.tolist():
            if row.quality[index] == Quality.REFUSED:
                self._aside.setdefault(index, Backoff()).fail()
            elif self._aside:
                self._aside.pop(index, None)
