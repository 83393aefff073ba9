"""One OPC UA session: opened, kept, asked and closed. Every error of the library becomes one of ours here."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Any, Self
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from drivers.errors import DeviceRefused, DeviceUnreachable, ReadingRejected
from drivers.opcua_codec import t_ns_of
from drivers.opcua_security import NotTrusted, secure
from drivers.opcua_settings import OpcUaSettings
from drivers.opcua_transport import ReadOnlyClient, door, name_of, reason
from drivers.readonly import NotARead

log = logging.getLogger(__name__)

RENEW_AFTER = 0.75  # of the secure channel's lifetime: OPC UA part 4, 5.5.2.1
CLOSING_S = 1.0  # for the courtesy of giving a session back
MOST_PER_CALL = 500  # a longer answer takes the event loop for more than some 5 ms
SAFE_PER_CALL = 100  # where the server tells no limit: an S7-1200 serves 100 items at once well, and 200 badly
SESSION_OVER = frozenset(
    {
        ua.StatusCodes.BadSessionIdInvalid, ua.StatusCodes.BadSessionClosed,
        ua.StatusCodes.BadSessionNotActivated, ua.StatusCodes.BadSecureChannelIdInvalid,
        ua.StatusCodes.BadSecureChannelClosed, ua.StatusCodes.BadSecureChannelTokenUnknown,
        ua.StatusCodes.BadServerHalted, ua.StatusCodes.BadShutdown, ua.StatusCodes.BadConnectionClosed,
        ua.StatusCodes.BadTcpServerTooBusy, ua.StatusCodes.BadTimeout,
    }
)  # fmt: skip # as the answer to a request as a whole: only a new session helps
TOO_MANY = frozenset(
    {
        ua.StatusCodes.BadTooManyOperations, ua.StatusCodes.BadRequestTooLarge,
        ua.StatusCodes.BadResponseTooLarge, ua.StatusCodes.BadEncodingLimitsExceeded,
    }
)  # fmt: skip # ask again for half as many
NOT_US = frozenset(
    {
        ua.StatusCodes.BadCertificateUntrusted, ua.StatusCodes.BadSecurityChecksFailed,
        ua.StatusCodes.BadCertificateInvalid, ua.StatusCodes.BadCertificateTimeInvalid,
        ua.StatusCodes.BadCertificateUriInvalid, ua.StatusCodes.BadCertificateUseNotAllowed,
    }
)  # fmt: skip # what a server says whose owner has not accepted our certificate yet
NOT_THIS_USER = frozenset(
    {
        ua.StatusCodes.BadIdentityTokenRejected, ua.StatusCodes.BadIdentityTokenInvalid,
        ua.StatusCodes.BadUserAccessDenied, ua.StatusCodes.BadUserSignatureInvalid,
    }
)  # fmt: skip


class TooMany(DeviceRefused):
    """The server would take a shorter request."""


@dataclass
class Limits:
    """How much may be in one call. Learned from the server, halved where it still complains.

    Attributes:
        read: Nodes of a read.
        items: Monitored items created by a call.
        history: Nodes of a history read.
    """

    read: int = SAFE_PER_CALL
    items: int = SAFE_PER_CALL
    history: int = 10
    refused: dict[str, int] = field(default_factory=dict)  # half of what a server has refused, whatever it tells

    NODES = (
        ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
        ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
        ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData,
    )

    def learn(self, told: Sequence[int | None]) -> None:
        """Take over what a server tells; 0 and None stand for nothing told."""
        for name, value in zip(("read", "items", "history"), told, strict=True):
            usual = getattr(Limits, name)
            setattr(self, name, min(value or usual, self.refused.get(name, MOST_PER_CALL)))

    def halve(self, name: str, refused: int) -> None:
        self.refused[name] = max(1, refused // 2)
        setattr(self, name, self.refused[name])


class Session:
    """A session, open for as long as its `async with` block.

    After a deadline the connection is closed. A session lives two minutes without a request; a
    device that is scanned less often is opened for each.

    Attributes:
        requests: Sent so far, publishes not counted.
        round_trip_s: Of the last request that was answered. [s]
        faults: How often what went wrong: `no_answer`, `connection_lost`, `wrong_type`, names of status codes.
        clock_offset_s: The server's clock minus ours at its last answer, good to the round trip; NaN
            before. Without meaning where one of the two is simulated. [s]
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        settings: OpcUaSettings,
        limits: Limits,
        trouble: dict[str, str],
    ) -> None:
        self.endpoint = url
        self.requests = 0
        self.round_trip_s = math.nan
        self.faults: Counter[str] = Counter()
        self.clock_offset_s = math.nan
        self.timeout_s = timeout_s
        self.settings = settings
        self.limits = limits
        self._trouble = trouble
        self._address = urlsplit(url).netloc
        self._client = ReadOnlyClient(url, timeout_s)
        self._renew_at_s = math.inf
        self._now_ns: Callable[[], int] | None = None

    async def __aenter__(self) -> Self:
        """Connect and open a session. Raises: DeviceUnreachable."""
        try:
            async with door(self._address, self.endpoint), asyncio.timeout(self.timeout_s):
                await self._open()
        except NotTrusted as error:
            self.tell("session", str(error))
            self._client.disconnect_socket()
            raise
        except (DeviceUnreachable, NotARead):
            self._client.disconnect_socket()
            raise
        except Exception as error:  # on answers that are wrong or forged asyncua raises errors of many kinds
            self._client.disconnect_socket()
            raise DeviceUnreachable(f"{self.endpoint}: no session: {self._why_not(error)}") from error
        except BaseException as error:
            self._client.disconnect_socket()
            if not _is_a_deadline(error):
                raise
            raise DeviceUnreachable(f"{self.endpoint}: no answer within {self.timeout_s:g} s") from error
        self.tell("session", "")
        return self

    async def _open(self) -> None:
        client = self._client
        await secure(client, self.endpoint, self.endpoint, self.settings, self.timeout_s)
        await client.connect_socket()
        await client.send_hello()
        await self._open_channel(renew=False)
        await client.create_session()
        await client.activate_session(username=client._username, password=client._password)
        await self._learn_limits()

    async def _learn_limits(self) -> None:
        """One by one: a server may well allow a single node in a read."""
        told: list[int | None] = []
        for node in Limits.NODES:
            item = ua.ReadValueId(NodeId=ua.NodeId(node), AttributeId=ua.AttributeIds.Value)
            try:
                (found,) = await self._client.uaclient.read(ua.ReadParameters(NodesToRead=[item]))
            except ua.UaStatusCodeError as error:
                if error.code in SESSION_OVER:
                    raise
                found = ua.DataValue()
            value = None if found.Value is None else found.Value.Value
            told.append(value if isinstance(value, int) else None)
        self.limits.learn(told)

    def _why_not(self, error: BaseException) -> str:
        code = error.code if isinstance(error, ua.UaStatusCodeError) else 0
        if code in NOT_US and self.settings.certificate_file is not None:
            return (
                f"{name_of(code)}: the server does not accept our certificate; trust"
                f" {self.settings.certificate_file} in the server"
            )
        if code in NOT_THIS_USER:
            who = f"user {self.settings.username!r}" if self.settings.username else "a user without name"
            return f"{name_of(code)}: the server does not let {who} in; give username and password_file"
        return reason(error)

    async def __aexit__(self, *exc_info: object) -> None:
        """Give the session back, if the server still listens; then close."""
        try:
            async with asyncio.timeout(min(CLOSING_S, self.timeout_s)):
                await self._client.uaclient.close_session(True)
                await self._client.close_secure_channel()
        except Exception as error:  # as on opening: a goodbye answered with nonsense must not end the agent
            log.debug("%s: the server did not close the session: %s", self.endpoint, reason(error))
        finally:
            self._client.disconnect_socket()

    async def ask(self, request: Any, answer: type[Any], what: str) -> Any:
        """The answer to one request.

        Args:
            request: With its parameters.
            answer: Class of the response.
            what: Names the request in errors.

        Raises: DeviceUnreachable, after which the session is over; DeviceRefused, TooMany if fewer would do;
            ReadingRejected where the answer is no such response.
        """
        self.requests += 1
        sent_s = perf_counter()
        try:
            async with asyncio.timeout(self.timeout_s):
                if self.must_renew:
                    await self._open_channel(renew=True)
                data = await self._client.ask(request)
        except TimeoutError as error:
            raise self.lost("no_answer", f"no answer within {self.timeout_s:g} s") from error
        except asyncio.CancelledError as error:
            if not _is_a_deadline(error):
                raise
            raise self.lost("no_answer", f"no answer within {self.timeout_s:g} s") from error
        except ua.UaStatusCodeError as error:
            if error.code in SESSION_OVER:
                raise self.lost(name_of(error.code), reason(error)) from error
            self.faults[name_of(error.code)] += 1
            kind = TooMany if error.code in TOO_MANY else DeviceRefused
            raise kind(f"{self.endpoint}: {what}: {reason(error)}") from error
        except (OSError, ua.UaError) as error:
            raise self.lost("connection_lost", f"connection lost: {reason(error)}") from error
        self.round_trip_s = perf_counter() - sent_s
        try:
            response = struct_from_binary(answer, data)
        except Exception as error:  # on bytes that are no such answer asyncua raises errors of many kinds
            self.faults["undecodable"] += 1
            raise ReadingRejected(f"{self.endpoint}: {what}: no {answer.__name__} came: {error!r}") from error
        return response

    async def read(self, nodes: Sequence[Any], attribute: ua.AttributeIds = ua.AttributeIds.Value) -> list[Any]:
        """DataValues of one attribute of nodes, under the server's limits. Raises: as `ask`."""
        found: list[Any] = []
        while len(found) < len(nodes):
            part = nodes[len(found) : len(found) + self.limits.read]
            wanted = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in part]
            request = ua.ReadRequest(Parameters=ua.ReadParameters(NodesToRead=wanted))
            try:
                response = await self.ask(request, ua.ReadResponse, f"{len(part)} nodes from {part[0]}")
            except TooMany:
                if len(part) == 1:
                    raise
                self.limits.halve("read", len(part))
                continue
            if len(response.Results) != len(part):
                self.faults["wrong_length"] += 1
                raise ReadingRejected(f"{self.endpoint}: {len(response.Results)} results for {len(part)} nodes")
            found += response.Results
        return found

    def hear_clock(self, header: Any, now_ns: int) -> None:
        """Compare the server's clock in an answer with ours."""
        self.clock_offset_s = (t_ns_of(header.Timestamp) - now_ns) / 1e9

    @property
    def must_renew(self) -> bool:
        """Whether the secure channel's keys are due; the next request sees to it."""
        return monotonic() >= self._renew_at_s

    async def _open_channel(self, renew: bool) -> None:
        await self._client.open_secure_channel(renew)
        self._renew_at_s = monotonic() + RENEW_AFTER * self._client.secure_channel_timeout / 1000

    def lost(self, fault: str, problem: str) -> DeviceUnreachable:
        """Close what is left of the connection and say why."""
        self.faults[fault] += 1
        self._client.disconnect_socket()
        return DeviceUnreachable(f"{self.endpoint}: {problem}")

    def tell(self, what: str, problem: str) -> None:
        """Log changes, not states."""
        if problem == self._trouble.get(what, ""):
            return
        self._trouble[what] = problem
        if problem:
            log.warning("%s", problem)
        else:
            log.info("%s: %s is well again", self.endpoint, what)


def _is_a_deadline(error: BaseException) -> bool:
    """Whether asyncua's wait says so: a deadline and an answer in one instant are a cancellation to it.

    asyncio.timeout lets that through, since nobody has cancelled the task.
    """
    task = asyncio.current_task()
    of_its_own = isinstance(error, asyncio.CancelledError) and type(error) is not asyncio.CancelledError
    return of_its_own and task is not None and not task.cancelling()
