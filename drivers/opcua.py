"""OPC UA: asyncua carries the messages; a fresh session per link, one batched read per scan, nothing else.

No task runs in the background: asyncua's supervisor and watchdog are not started, the scan itself is the
heartbeat, and the secure channel is renewed by the scan that finds it due.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from drivers.errors import DeviceRefused, DeviceUnreachable, ReadingRejected
from drivers.opcua_codec import Batch, batches, name_of, t_ns_of
from drivers.opcua_transport import ReadOnlyClient
from drivers.profile import Profile
from drivers.row import Quality, Row, empty_row

log = logging.getLogger(__name__)

RENEW_AFTER = 0.75  # of the secure channel's lifetime: OPC UA part 4, 5.5.2.1
CLOSING_S = 1.0  # for the courtesy of giving a session back
SESSION_OVER = frozenset(
    {
        ua.StatusCodes.BadSessionIdInvalid, ua.StatusCodes.BadSessionClosed,
        ua.StatusCodes.BadSessionNotActivated, ua.StatusCodes.BadSecureChannelIdInvalid,
        ua.StatusCodes.BadSecureChannelClosed, ua.StatusCodes.BadSecureChannelTokenUnknown,
        ua.StatusCodes.BadServerHalted, ua.StatusCodes.BadShutdown, ua.StatusCodes.BadConnectionClosed,
        ua.StatusCodes.BadTcpServerTooBusy, ua.StatusCodes.BadTimeout,
    }
)  # fmt: skip # as the answer to a read as a whole: only a new session helps


class OpcUaDevice:
    """A device to read: opens links, as many as are needed one after the other."""

    def __init__(self, profile: Profile, url: str, timeout_s: float = 4.0) -> None:
        """Compile the reads of all scan classes.

        Args:
            profile: What the device offers.
            url: Endpoint of the server, as in `opc.tcp://10.20.0.7:4840`. Nothing is sent to it yet.
            timeout_s: Deadline of opening a session, and of each read. [s]

        Raises: ProfileError, with a line for each node id that is none.
        """
        self.profile = profile
        self.endpoint = _without_secret(url)
        self._url, self._timeout_s = url, timeout_s
        self._reads = batches(profile)
        self._trouble: dict[str, str] = {}  # outlives a link, so that a lasting fault is logged once

    def open(self) -> "OpcUaLink":
        """A link, not connected before its `async with`."""
        points = len(self.profile.points)
        return OpcUaLink(self.endpoint, points, self._reads, self._trouble, self._url, self._timeout_s)


class OpcUaLink:
    """A session, open for as long as its `async with` block.

    After a deadline the connection is closed. A session lives two minutes without a scan; a
    device that is scanned less often is opened for each.

    Attributes:
        requests: Reads sent so far.
        round_trip_s: Of the last read that was answered. [s]
        faults: How often what went wrong: `no_answer`, `connection_lost`, `wrong_type`, names of status codes.
        clock_offset_s: The server's clock minus `now_ns` at its last answer, good to the round trip; NaN
            before. Without meaning where one of the two is simulated. [s]
        source_t_ns: When the source last had each point's value, 0 where it does not say. int64[n] [ns, UTC]
    """

    def __init__(
        self,
        endpoint: str,
        points: int,
        reads: dict[str, list[Batch]],
        trouble: dict[str, str],
        url: str,
        timeout_s: float,
    ) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self.round_trip_s = math.nan
        self.faults: Counter[str] = Counter()
        self.clock_offset_s = math.nan
        self.source_t_ns = np.zeros(points, np.int64)
        self._reads = reads
        self._trouble = trouble
        self._timeout_s = timeout_s
        self._client = ReadOnlyClient(url, timeout_s)
        self._renew_at_s = math.inf

    async def __aenter__(self) -> Self:
        """Connect and open a session. Raises: DeviceUnreachable."""
        client = self._client
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.connect_socket()
                await client.send_hello()
                await self._open_channel(renew=False)
                await client.create_session()
                await client.activate_session(username=client._username, password=client._password)
        except (OSError, ua.UaError) as error:  # a time-out is an OSError
            client.disconnect_socket()
            raise DeviceUnreachable(f"{self.endpoint}: no session: {_reason(error)}") from error
        except BaseException:
            client.disconnect_socket()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Give the session back, if the server still listens; then close."""
        try:
            async with asyncio.timeout(min(CLOSING_S, self._timeout_s)):
                await self._client.uaclient.close_session(True)
                await self._client.close_secure_channel()
        except (OSError, ua.UaError) as error:
            log.debug("%s: the server did not close the session: %s", self.endpoint, _reason(error))
        finally:
            self._client.disconnect_socket()

    async def scan(self, scan: str, now_ns: Callable[[], int]) -> Row:
        """Read every node of a scan class into one row.

        A node that the server does not know, or whose value has another type than the profile says, is
        unknown with that quality, and counted; the others stay good.

        Args:
            scan: A scan class of the profile.
            now_ns: Tells the time; asked when an answer has arrived. [ns, UTC]

        Raises: DeviceUnreachable.
        """
        row = empty_row(self.source_t_ns.size, 0, Quality.NOT_SCANNED, scan)
        for batch in self._reads[scan]:
            try:
                response = await self._read(batch)
            except DeviceRefused as error:
                row.quality[batch.points] = Quality.REFUSED
                self._tell(str(batch), str(error))
            except ReadingRejected as error:
                row.quality[batch.points] = Quality.NONSENSE
                self._tell(str(batch), str(error))
            else:
                row.t_ns = now_ns()
                self.clock_offset_s = (t_ns_of(response.ResponseHeader.Timestamp) - row.t_ns) / 1e9
                self._tell(str(batch), "")
                problems = batch.decode(response.Results, row, self.source_t_ns)
                for point, problem in zip(batch.wanted, problems, strict=True):
                    self._note(point.name, point.node, problem)
            row.t_ns = row.t_ns or now_ns()
        return row

    async def _read(self, batch: Batch) -> Any:
        """The answer to one read, with as many results as were asked for, or an error."""
        self.requests += 1
        sent_s = perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                if monotonic() >= self._renew_at_s:
                    await self._open_channel(renew=True)
                data = await self._client.ask(ua.ReadRequest(Parameters=batch.parameters))
        except TimeoutError as error:
            raise self._lost("no_answer", f"no answer within {self._timeout_s:g} s") from error
        except ua.UaStatusCodeError as error:
            if error.code in SESSION_OVER:
                raise self._lost(name_of(error.code), _reason(error)) from error
            self.faults[name_of(error.code)] += 1
            raise DeviceRefused(f"{self.endpoint}: {batch}: {_reason(error)}") from error
        except (OSError, ua.UaError) as error:
            raise self._lost("connection_lost", f"connection lost: {_reason(error)}") from error
        self.round_trip_s = perf_counter() - sent_s
        try:
            response = struct_from_binary(ua.ReadResponse, data)
        except Exception as error:  # on bytes that are no such answer asyncua raises errors of many kinds
            self.faults["undecodable"] += 1
            raise ReadingRejected(f"{self.endpoint}: {batch}: no read response came: {error!r}") from error
        if len(response.Results) != len(batch.wanted):
            self.faults["wrong_length"] += 1
            raise ReadingRejected(f"{self.endpoint}: {batch}: {len(response.Results)} results came")
        return response

    async def _open_channel(self, renew: bool) -> None:
        await self._client.open_secure_channel(renew)
        self._renew_at_s = monotonic() + RENEW_AFTER * self._client.secure_channel_timeout / 1000

    def _lost(self, fault: str, problem: str) -> DeviceUnreachable:
        """Close what is left of the connection and say why."""
        self.faults[fault] += 1
        self._client.disconnect_socket()
        return DeviceUnreachable(f"{self.endpoint}: {problem}")

    def _note(self, name: str, node: str | None, problem: str) -> None:
        if problem:
            self.faults[problem.split(":")[0]] += 1
            problem = f"{self.endpoint}: {name} ({node}): {problem}; compare the profile with the server"
        self._tell(name, problem)

    def _tell(self, what: str, problem: str) -> None:
        """Log changes, not states."""
        if problem == self._trouble.get(what, ""):
            return
        self._trouble[what] = problem
        if problem:
            log.warning("%s", problem)
        else:
            log.info("%s: %s is read again", self.endpoint, what)


def _reason(error: Exception) -> str:
    if isinstance(error, ua.UaStatusCodeError):
        return name_of(error.code)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; nothing listens on that port"
    if isinstance(error, TimeoutError):
        return "no answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _without_secret(url: str) -> str:
    """The URL as it may be logged: without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
