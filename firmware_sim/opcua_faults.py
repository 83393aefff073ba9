"""Faults of OPC UA sessions and subscriptions, made inside asyncua's server (2.1).

It offers no such thing, so this reaches into its objects; what is reached for is named here and nowhere else,
and the tests of the faults show on the wire whether it still works.
"""

from typing import Any

from asyncua import Server, ua
from asyncua.common.utils import ServiceError

from firmware_sim.faults import Fault


class Sessions:
    """The sessions of clients."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def end(self) -> None:
        """End all sessions and leave their connections: requests are answered with BadSessionIdInvalid.

        Waiting publish requests are answered with BadSessionClosed.
        Source: OPC 10000-4, services CloseSession and Publish.
        """
        for connection in list(self._server.bserver.clients):
            processor = connection.processor
            if processor is None or processor.session is None:
                continue
            while processor._publish_requests:
                waiting = processor._publish_requests.popleft()
                fault = ua.ServiceFault()
                fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadSessionClosed)
                processor.send_response(waiting.requesthdr.RequestHandle, waiting.seqhdr, fault)
            await processor.session.close_session(True)
            processor.session.external = False  # so that asyncua does not ask it at the end of the connection
            processor.session.is_activated = _gone

    async def forget(self) -> None:
        """Lose all sessions, also those that a client could come back to."""
        for session in list(self._server.iserver._external_sessions.values()):
            await session.close_session(True)


class Subscriptions:
    """The subscriptions of clients. A new one is silenced too, at the next call.

    asyncua answers a request to publish again what is gone with an empty message, as if all were well; a
    client that asks until it is refused (node-opcua does, once its session is lost) then asks for ever.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._silent: dict[int, Any] = {}
        server.iserver.subscription_service.republish = self._republish

    def _republish(self, wanted: ua.RepublishParameters) -> ua.NotificationMessage:
        """Source: OPC 10000-4, service Republish, its result codes."""
        subscription = self._server.iserver.subscription_service.subscriptions.get(wanted.SubscriptionId)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        message = subscription.republish(wanted.RetransmitSequenceNumber)
        if not message.NotificationData:
            raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
        return message

    def silence(self, fault: Fault | None) -> None:
        if fault is None and not self._silent:
            return
        of_clients = {
            number: each
            for number, each in self._server.iserver.subscription_service.subscriptions.items()
            if each.pub_request_callback is not None
        }
        if fault is None:
            for each in self._silent.values():
                each._publishing_enabled = True
                each.__dict__.pop("publish_results", None)
            self._silent = {}
            return
        for number, each in of_clients.items():
            if number not in self._silent and each._publishing_enabled:
                self._silent[number] = each
                each._publishing_enabled = False
                if not fault.number("keepalive"):
                    each.publish_results = _nothing


def _gone() -> bool:
    raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)


async def _nothing(requestdata: Any = None) -> bool:
    return False
