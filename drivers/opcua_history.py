"""What happened while nobody listened: raw history from the server, newest first, as rows with its own times."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any

from asyncua import ua

from drivers.errors import DeviceRefused, ReadingRejected
from drivers.opcua_codec import EPOCH, Past, t_ns_of
from drivers.opcua_session import Session, TooMany
from drivers.profile import Profile
from drivers.row import HISTORY, Quality, Row, empty_row

MOST_VALUES = 2000  # of one answer, all nodes together: some 25 ms of decoding
MOST_ROWS = 20_000  # of one call
AT_A_TIME = 500  # values decoded without a break
MOST_S = 5.0  # of one call: scans wait for it
MOST_OFFSET_S = 10.0  # a server whose clock is further off would put the past into another hour


@dataclass
class _Column:
    """What is known of one node so far."""

    point: int
    values: list[Any] = field(default_factory=list)
    more: Any = None  # continuation point
    is_cut: bool = False  # older values are there, but were not fetched


class History:
    """Reads the history of the points of which the server keeps one."""

    def __init__(self, session: Session, profile: Profile) -> None:
        self._session, self._profile = session, profile
        self._nodes = [ua.NodeId.from_string(point.node) for point in profile.points]
        self._past: dict[int, Past] | None = None  # by point; None before the server was asked

    async def rows(self, from_ns: int, to_ns: int) -> list[Row]:
        """Rows between two instants, both left out; the newest ones where there are more than a call takes.

        Raises: DeviceUnreachable.
        """
        end_s = monotonic() + MOST_S
        found: list[Row] = []
        while to_ns - from_ns >= 2000 and len(found) < MOST_ROWS:  # source times are whole microseconds
            part, is_cut = await self._window(from_ns, to_ns, end_s)
            found = part + found
            if not part or not is_cut or monotonic() > end_s:
                break
            to_ns = part[0].t_ns
        return found[-MOST_ROWS:]

    async def offered(self) -> dict[int, Past]:
        """The points with a history that we may read. Raises: DeviceUnreachable."""
        if self._past is None:
            try:
                found = await self._session.read(self._nodes, ua.AttributeIds.UserAccessLevel)
            except (DeviceRefused, ReadingRejected) as error:
                self._session.tell("history", str(error))
                return {}
            levels = [one.Value.Value if one.Value is not None else 0 for one in found]
            bit = 1 << ua.AccessLevel.HistoryRead.value
            self._past = {
                index: Past(self._profile.points[index])
                for index, level in enumerate(levels)
                if isinstance(level, int) and level & bit
            }
        return self._past

    async def _window(self, from_ns: int, to_ns: int, end_s: float) -> tuple[list[Row], bool]:
        """The newest rows between two instants, and whether there may be older ones."""
        past = await self.offered()
        columns: list[_Column] = []
        points = list(past)
        while points:
            part = points[: self._session.limits.history]
            try:
                columns += await self._columns(part, from_ns, to_ns, len(past), end_s)
            except TooMany as error:
                if len(part) == 1:
                    self._session.tell("history", str(error))
                    return [], False
                self._session.limits.halve("history", len(part))
                continue
            except (DeviceRefused, ReadingRejected) as error:
                self._session.tell("history", str(error))
                return [], False
            points = points[len(part) :]
        return await self._together(columns, from_ns, to_ns), any(column.is_cut for column in columns)

    async def _columns(
        self, points: Sequence[int], from_ns: int, to_ns: int, of: int, end_s: float
    ) -> list[_Column]:
        """Values of some points, page after page until all is there or a bound is reached."""
        most = max(10, MOST_VALUES // max(1, of))
        columns = [_Column(index) for index in points]
        open_ones = columns
        while open_ones:
            results = await self._page(open_ones, from_ns, to_ns, most)
            for column, result in zip(open_ones, results, strict=True):
                page = getattr(result.HistoryData, "DataValues", None) or []
                column.values += page
                column.more = result.ContinuationPoint or None
                column.is_cut = column.more is not None or len(page) >= most
                if not page or not result.StatusCode.is_good():
                    column.more = None
            open_ones = [c for c in columns if c.more is not None]
            enough = any(len(c.values) >= MOST_ROWS for c in columns) or monotonic() > end_s
            if open_ones and enough:
                await self._page(open_ones, from_ns, to_ns, most, release=True)
                break
        return columns

    async def _page(
        self, columns: Sequence[_Column], from_ns: int, to_ns: int, most: int, release: bool = False
    ) -> list[Any]:
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False, StartTime=_time(to_ns), EndTime=_time(from_ns), NumValuesPerNode=most,
            ReturnBounds=False,
        )  # fmt: skip # a start after the end: newest first
        request = ua.HistoryReadRequest(
            Parameters=ua.HistoryReadParameters(
                HistoryReadDetails=details, TimestampsToReturn=ua.TimestampsToReturn.Source,
                ReleaseContinuationPoints=release,
                NodesToRead=[
                    ua.HistoryReadValueId(NodeId=self._nodes[c.point], ContinuationPoint=c.more) for c in columns
                ],
            )
        )  # fmt: skip
        what = f"history of {len(columns)} nodes from {self._nodes[columns[0].point]}"
        response = await self._session.ask(request, ua.HistoryReadResponse, what)
        if not release and len(response.Results) != len(columns):
            raise ReadingRejected(f"{self._session.endpoint}: {what}: {len(response.Results)} results came")
        return list(response.Results)

    async def _together(self, columns: list[_Column], from_ns: int, to_ns: int) -> list[Row]:
        """One row for each source time. Where a node's past was cut off, all end there: no row is in part."""
        assert self._past is not None
        begin_ns = from_ns
        for column in columns:
            if column.is_cut and column.values:
                begin_ns = max(begin_ns, min(t_ns_of(one.SourceTimestamp) for one in column.values))
        rows: dict[int, Row] = {}
        for column in columns:
            for first in range(0, len(column.values), AT_A_TIME):
                part = self._past[column.point].decode(column.values[first : first + AT_A_TIME])
                for t_ns, value, quality, text in part:
                    if not begin_ns < t_ns < to_ns:
                        continue
                    row = rows.get(t_ns)
                    if row is None:
                        row = rows[t_ns] = empty_row(len(self._nodes), t_ns, Quality.NOT_SCANNED, HISTORY)
                    row.values[column.point], row.quality[column.point] = value, quality
                    if text is not None:
                        row.text[column.point] = text
                await asyncio.sleep(0)  # other devices have their scans
        return [rows[t_ns] for t_ns in sorted(rows)]


def _time(t_ns: int) -> Any:
    return EPOCH + timedelta(microseconds=t_ns // 1000)
