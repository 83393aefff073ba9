"""asyncua's client, made to read only, without its background tasks and its log."""

import logging
from typing import Any

from asyncua import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol

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

    async def ask(self, request: Any) -> Any:
        """Send a request; its answer's bytes. Raises: TimeoutError, ConnectionError, UaError, NotARead."""
        protocol = self.uaclient.protocol
        if protocol is None:
            raise ConnectionError("it was closed")
        return await protocol.send_request(request)


class _ReadOnlyUaClient(UaClient):  # type: ignore[misc]
    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = _ReadOnlyProtocol(self._timeout, security_policy=self.security_policy)
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol


class _ReadOnlyProtocol(UASocketProtocol):  # type: ignore[misc]
    def _send_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Last stop before a request is encoded and written. Raises: NotARead."""
        check_opcua(request)
        return super()._send_request(request, *args, **kwargs)
