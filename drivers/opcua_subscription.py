"""What a server tells by itself: one subscription, the task that listens to it, and the proof that it lives."""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from drivers.errors import DeviceRefused, ReadingRejected
from drivers.opcua_session import SESSION_OVER, Session, TooMany
from drivers.opcua_transport import name_of, reason
from drivers.profile import Profile

CLOCK = ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)
CLOCK_HANDLE = 0  # a point's handle is its position in a row, plus 1
SLOWEST_BEAT_S = 1.0  # servers move their clock once a second, or oftener
SILENT_BEATS = 3.0  # without a word: the subscription is given up and made anew
OLD_BEATS = 2.0  # what it says after so long a silence was queued, and may be older than what it kept back
LIFETIME_S = 60.0  # what is left of it on a server that lost us
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 300.0
NO_FILTER = frozenset(
    {
        ua.StatusCodes.BadMonitoredItemFilterUnsupported, ua.StatusCodes.BadMonitoredItemFilterInvalid,
        ua.StatusCodes.BadFilterNotAllowed, ua.StatusCodes.BadDeadbandFilterInvalid,
    }
)  # fmt: skip # a server without deadband: every change is taken then


class Backoff:
    """Growing waits with jitter, until something succeeds."""

    def __init__(self, first_s: float | None = None) -> None:
        self.due_s, self._failures, self._first_s = -math.inf, 0, first_s or FIRST_WAIT_S

    def fail(self) -> None:
        wait_s = min(LONGEST_WAIT_S, self._first_s * 2.0 ** min(self._failures, 10))
        self.due_s = monotonic() + random.uniform(0.5, 1.0) * wait_s
        self._failures += 1

    def succeed(self) -> None:
        self._failures = 0

    @property
    def due(self) -> bool:
        return monotonic() >= self.due_s


class Watch:
    """The points that a server watches for us.

    The server's own clock is watched along with them: it always moves, so a subscription that says nothing of
    it is dead however well the session answers. `held` has values only of a subscription that lives. A server may
    still forget a single point, a node that it deletes without a word, say: so each is read now and then, in turn.

    Attributes:
        spoke_ns: When it last brought data, by the clock of `keep`; 0 while nothing is proven. [ns, UTC]
    """

    def __init__(
        self, session: Session, profile: Profile, points: Sequence[int], publishing_s: float, reread_s: float
    ) -> None:
        self.spoke_ns = 0
        self._session = session
        self._points = {index: profile.points[index] for index in points}
        self._publishing_s = publishing_s
        self._now_ns: Callable[[], int] = lambda: 0
        self._id = 0  # 0: there is none
        self._exists = asyncio.Event()
        self._held: dict[int, Any] = {}
        self._last_number = 0
        self._heard_s = 0.0
        self._beat_s = SLOWEST_BEAT_S
        self._has_clock = False
        self._refused: list[int] = []  # points that the server would not watch, or has forgotten
        self._reread_s, now_s = reread_s, monotonic()
        self._turn_s = {index: now_s + reread_s * (k + 1) / len(points) for k, index in enumerate(points)}
        self._retry, self._retry_refused = Backoff(), Backoff()
        self._listener: asyncio.Task[None] | None = None

    def held(self, since_ns: int) -> dict[int, Any]:
        """DataValues by point, if the subscription has spoken since; none otherwise."""
        return self._held if self.spoke_ns > since_ns else {}

    def whose_turn(self, points: Iterable[int]) -> tuple[int, ...]:
        """Those of the points that are to be read though they are held."""
        now_s = monotonic()
        due = tuple(index for index in points if now_s >= self._turn_s[index])
        for index in due:
            self._turn_s[index] = max(self._turn_s[index], now_s - self._reread_s) + self._reread_s
        return due

    def forget(self, points: Iterable[int]) -> None:
        """Hold these no longer, since the server has no such node; have them watched again later."""
        for index in points:
            del self._held[index]
            self._refused.append(index)
            self._retry_refused.fail()

    async def keep(self, now_ns: Callable[[], int]) -> None:
        """Make the subscription, notice that it is silent, make it anew: as the time for each has come.

        Raises: DeviceUnreachable.
        """
        self._now_ns = now_ns
        if self._listener is not None and self._listener.done():
            self._listener.result()  # raises what ended it
        if self._exists.is_set() and monotonic() - self._heard_s > SILENT_BEATS * self._beat_s:
            self._end("silent_subscription", f"silent for {SILENT_BEATS * self._beat_s:g} s")
        try:
            if self._session.must_renew:  # where nothing is read any more, nothing else would renew the channel
                await self._session.read([CLOCK])
            if not self._exists.is_set() and self._retry.due:
                await self._make()
            elif self._exists.is_set() and self._refused and self._retry_refused.due:
                await self._add(self._refused)
        except (DeviceRefused, ReadingRejected) as error:
            self._end("no_subscription", str(error))

    async def stop(self) -> None:
        """End the listening task; the subscription goes with its session."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
            if not self._listener.cancelled():
                self._listener.exception()  # keep() has raised it, or nobody asks any more

    async def _make(self) -> None:
        if self._id:  # the old one, if the server still has it
            request = ua.DeleteSubscriptionsRequest()
            request.Parameters.SubscriptionIds = [self._id]
            old, self._id = self._id, 0
            with contextlib.suppress(DeviceRefused, ReadingRejected):  # it has gone already
                await self._session.ask(request, ua.DeleteSubscriptionsResponse, f"subscription {old}")
        interval_s = self._publishing_s
        lifetime = max(3, math.ceil(LIFETIME_S / interval_s))
        request = ua.CreateSubscriptionRequest(
            Parameters=ua.CreateSubscriptionParameters(
                RequestedPublishingInterval=1000 * interval_s, RequestedLifetimeCount=lifetime,
                RequestedMaxKeepAliveCount=max(1, min(lifetime // 3, round(SLOWEST_BEAT_S / interval_s))),
                MaxNotificationsPerPublish=0, PublishingEnabled=True,
            )
        )  # fmt: skip
        made = (await self._session.ask(request, ua.CreateSubscriptionResponse, "a subscription")).Parameters
        self._id, self._last_number, self._has_clock = made.SubscriptionId, 0, False
        self._held, self.spoke_ns = {}, 0
        self._beat_s = max(SLOWEST_BEAT_S, made.RevisedPublishingInterval / 1000)
        self._heard_s = monotonic()
        self._exists.set()
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name=f"listen {self._session.endpoint}")
        (clock,) = await self._create([_item(CLOCK, CLOCK_HANDLE, interval_s)])
        if clock.StatusCode.is_good():
            self._has_clock = True
            self._beat_s = max(self._beat_s, clock.RevisedSamplingInterval / 1000)
        await self._add(list(self._points))

    async def _add(self, points: list[int]) -> None:
        """Have points watched, without deadband where the server has none; remember those that it refuses."""
        wanted = [self._item_of(index, self._points[index].deadband) for index in points]
        found = await self._create(wanted)
        bare = [i for i, one in enumerate(found) if one.StatusCode.value in NO_FILTER]
        if bare:
            again = await self._create([self._item_of(points[i], 0.0) for i in bare])
            for i, one in zip(bare, again, strict=True):
                found[i] = one
        self._refused = []
        for index, one in zip(points, found, strict=True):
            name = self._points[index].name
            problem = ""
            if not one.StatusCode.is_good():
                self._refused.append(index)
                problem = (
                    f"{self._session.endpoint}: {name} is not watched but read: {name_of(one.StatusCode.value)}"
                )
            self._session.tell(f"watch on {name}", problem)
        if self._refused:
            self._retry_refused.fail()
        else:
            self._retry_refused.succeed()

    def _item_of(self, index: int, deadband: float) -> Any:
        point = self._points[index]
        item = _item(ua.NodeId.from_string(point.node), index + 1, self._publishing_s)
        if deadband > 0.0 and point.type not in ("string", "bool"):
            item.RequestedParameters.Filter = ua.DataChangeFilter(
                Trigger=ua.DataChangeTrigger.StatusValue, DeadbandType=ua.DeadbandType.Absolute,
                DeadbandValue=deadband / abs(point.scale),
            )  # fmt: skip
        return item

    async def _create(self, items: list[Any]) -> list[Any]:
        """Results of creating monitored items, under the server's limit."""
        limits = self._session.limits
        results: list[Any] = []
        while len(results) < len(items):
            part = items[len(results) : len(results) + limits.items]
            request = ua.CreateMonitoredItemsRequest(
                Parameters=ua.CreateMonitoredItemsParameters(
                    SubscriptionId=self._id, TimestampsToReturn=ua.TimestampsToReturn.Source, ItemsToCreate=part
                )
            )
            what = f"{len(part)} monitored items"
            try:
                response = await self._session.ask(request, ua.CreateMonitoredItemsResponse, what)
            except TooMany:
                if len(part) == 1:
                    raise
                limits.halve("items", len(part))
                continue
            if len(response.Results) != len(part):
                raise ReadingRejected(f"{self._session.endpoint}: {what}: {len(response.Results)} results came")
            results += response.Results
        return results

    async def _listen(self) -> None:
        """Ask for publishes, one after the other, as long as the session lives. Raises: DeviceUnreachable."""
        session = self._session
        acknowledge: list[Any] = []
        while True:
            await self._exists.wait()
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements, acknowledge = acknowledge, []
            try:
                data = await session._client.ask(request, 0)
            except ua.UaStatusCodeError as error:
                if error.code in SESSION_OVER - {ua.StatusCodes.BadTimeout}:
                    raise session.lost(name_of(error.code), reason(error)) from error
                if error.code == ua.StatusCodes.BadNoSubscription:
                    self._end(name_of(error.code), "the server has it no longer")
                elif error.code != ua.StatusCodes.BadTimeout:
                    session.faults[name_of(error.code)] += 1
                await asyncio.sleep(SLOWEST_BEAT_S)  # whatever it is, not in a tight loop
                continue
            except (OSError, ua.UaError) as error:
                raise session.lost("connection_lost", f"connection lost: {reason(error)}") from error
            try:
                response = struct_from_binary(ua.PublishResponse, data)
            except Exception as error:  # on bytes that are no such answer asyncua raises errors of many kinds
                self._end("undecodable", f"no publish response came: {error!r}")
            else:
                acknowledge = self._take(response)

    def _take(self, response: Any) -> list[Any]:
        """Take over what a publish brings. Returns: its acknowledgement."""
        result = response.Parameters
        message = result.NotificationMessage
        number = message.SequenceNumber
        data = list(message.NotificationData or [])
        ours = result.SubscriptionId == self._id and self._exists.is_set()
        silent_s = monotonic() - self._heard_s
        if ours and data:
            if silent_s > OLD_BEATS * self._beat_s:
                self._end("silent_subscription", f"spoke after {silent_s:.1f} s, perhaps of what is past")
            elif self._last_number and number != self._last_number + 1:
                self._end("lost_publish", f"publish {number} came after {self._last_number}")
            else:
                self._last_number = number
                self._take_data(data, not result.MoreNotifications, response.ResponseHeader)
        elif ours and not self._has_clock:  # a keep-alive is all the proof that such a server gives
            self._prove()
        if not data:
            return []
        return [ua.SubscriptionAcknowledgement(SubscriptionId=result.SubscriptionId, SequenceNumber=number)]

    def _take_data(self, data: list[Any], is_all: bool, header: Any) -> None:
        for part in data:
            if isinstance(part, ua.StatusChangeNotification):
                self._end(name_of(part.Status.value), f"ended by the server: {name_of(part.Status.value)}")
                return
            if isinstance(part, ua.DataChangeNotification):
                for handle, value in _items(part):
                    if handle - 1 in self._points:
                        self._held[handle - 1] = value
        if is_all:
            self._prove()
            self._session.hear_clock(header, self.spoke_ns)

    def _prove(self) -> None:
        if not self.spoke_ns:
            self._retry.succeed()
            self._session.tell("subscription", "")
        self._heard_s, self.spoke_ns = monotonic(), self._now_ns()

    def _end(self, fault: str, problem: str) -> None:
        """Trust it no longer; `keep` makes another when its time has come."""
        session = self._session
        session.faults[fault] += 1
        session.tell("subscription", f"{session.endpoint}: subscription: {problem}; its points are read meanwhile")
        self._exists.clear()
        self._held, self.spoke_ns = {}, 0
        self._retry.fail()


def _item(node: Any, handle: int, sampling_s: float) -> Any:
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=handle, SamplingInterval=1000 * sampling_s, QueueSize=1, DiscardOldest=True
        ),
    )


def _items(part: Any) -> Iterator[tuple[int, Any]]:
    for one in part.MonitoredItems:
        yield one.ClientHandle, one.Value
