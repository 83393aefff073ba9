"""asyncua's client, made to read only, without its background tasks and its log; and one connect at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from asyncua import Client, ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.ua.status_codes import get_name_and_doc

from drivers.errors import DeviceUnreachable
from drivers.readonly import check_opcua

# asyncua logs tracebacks for what our errors say in a line, and counts are kept in `faults`. Whoever wants
# its view all the same: logging.getLogger("asyncua").setLevel("INFO") after this import.
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)

SESSION_TIMEOUT_S = 120.0  # a session left behind by a power cut takes one of the server's few for so long


class ReadOnlyClient(Client):  # type: ignore[misc]
    """asyncua's client over a transport that lets only reading services pass."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(url, timeout=timeout_s)
        self.uaclient = _ReadOnlyUaClient(timeout_s)
        self.nodes = None  # would hold the client that was replaced
        self.name = self.description = "bollard"
        self.application_uri = self.product_uri = "urn:bollard:edge"
        self.session_timeout = int(SESSION_TIMEOUT_S * 1000)

    async def ask(self, request: Any, timeout_s: float | None = None) -> Any:
        """Send a request; its answer's bytes. A timeout of 0 waits for ever.

        Raises: TimeoutError, ConnectionError, UaError, NotARead.
        """
        protocol = self.uaclient.protocol
        if protocol is None:
            raise ConnectionError("it was closed")
        return await protocol.send_request(request, timeout_s)


class _ReadOnlyUaClient(UaClient):  # type: ignore[misc]
    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = _ReadOnlyProtocol(self._timeout, security_policy=self.security_policy)
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol


class _ReadOnlyProtocol(UASocketProtocol):  # type: ignore[misc]
    _failure: Exception | None = None

    def _send_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Last stop before a request is encoded and written. Raises: NotARead."""
        check_opcua(request)
        return super()._send_request(request, *args, **kwargs)

    async def open_secure_channel(self, params: Any) -> Any:
        """A refused channel is asyncua's AssertionError (2.1); the server's reason is in what failed before."""
        try:
            return await super().open_secure_channel(params)
        except AssertionError as error:
            raise self._failure or ua.UaError("the server opened no secure channel") from error

    def _fail_all_pending(self, exc: Exception) -> None:
        self._failure = exc
        super()._fail_all_pending(exc)


@dataclass
class _Door:
    """The way into one server. Devices on the same server pass one after the other."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    shut_s: float = 0.0  # when somebody last found it shut (monotonic)
    why: str = ""


_doors: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Door]]" = WeakKeyDictionary()


@asynccontextmanager
async def door(address: str, endpoint: str) -> AsyncIterator[None]:
    """One connect at a time to the server at `address` (host:port), whatever the number of its devices.

    Whoever waited while another found nobody there, does not try once more: ten devices of a dead server cost
    it one attempt, not ten. Raises: DeviceUnreachable, then.
    """
    doors = _doors.setdefault(asyncio.get_running_loop(), {})
    here = doors.setdefault(address, _Door())
    came_s = monotonic()
    async with here.lock:
        if here.shut_s > came_s:
            raise DeviceUnreachable(f"{endpoint}: no session: {here.why} (asked for another device just now)")
        try:
            yield
        except OSError as error:  # a time-out is one too
            here.shut_s, here.why = monotonic(), reason(error)
            raise


def name_of(status: int) -> str:
    """Name of a status code, as in BadNodeIdUnknown."""
    return str(get_name_and_doc(status & 0xFFFF_0000)[0])


def reason(error: BaseException) -> str:
    """What a person needs of an error from below, in a few words."""
    if isinstance(error, ua.UaStatusCodeError):
        return name_of(error.code)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; nothing listens on that port"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, UnicodeError):  # the name cannot even be asked for
        return "its host is no name and no address; give one as in 10.20.0.9 or bms.quay.example"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
