"""An MQTT broker inside this process, on loopback: for the demo and for one-machine use.

It enforces no keep-alive, bounds no queue and keeps nothing across a restart. bollard relies on none of
these: a batch is free only once its receipt has come. In production gateways talk to a real broker.
"""

import logging
import socket
from typing import Any, Self

from gateway.errors import GatewayError

HOST = "127.0.0.1"
QUIET = ("amqtt", "transitions")  # they log every packet and state change


class EmbeddedBroker:
    """amqtt on a loopback port, for as long as its `async with` block.

    Args:
        port: Port to listen on; 0 takes a free one. `self.port` tells which.

    Raises: GatewayError if the port is busy.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._broker: Any = None

    async def __aenter__(self) -> Self:
        from amqtt.broker import Broker  # takes a third of a second to load

        for name in QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
        if self.port:
            _refuse_a_busy_port(self.port)
        self._broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await self._broker.start()
        self.port = self._broker._servers["default"].instance.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._broker.shutdown()


def _refuse_a_busy_port(port: int) -> None:
    """Before amqtt meets it and logs a page."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise GatewayError(
                f"broker port {HOST}:{port}: {error.strerror}; set another [broker] port"
            ) from error
