"""A connection to one of several brokers that comes back by itself. Both ends use it: uplink and ingest.

paho's thread does nothing but hand over to the event loop; when to connect, and to whom, is decided here. The
session is clean, and what was under way when a connection ended is forgotten: the spool is the queue.
"""

import asyncio
import logging
import os
import random
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.tls import TlsError, TlsFiles

log = logging.getLogger(__name__)
FIRST_PAUSE_S = 3.0  # the bound of the first wait: hundreds of gateways lose a broker in the same instant
STEADY_S = 10.0  # a connection that held this long was a good one: waits start anew
ANSWER_S = 10.0  # for TCP, for TLS, and for the broker's CONNACK
GOODBYE_S = 1.0
IN_FLIGHT = 1000  # publishes without PUBACK; the window of batches is the real bound
VERSIONS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}


@dataclass(frozen=True)
class Access:
    """How a broker is reached. `brokers` are tried in order; they are one system, or have an ingest each."""

    brokers: tuple[tuple[str, int], ...]
    keepalive_s: int = 30
    reconnect_s: float = 30.0  # the bound of the longest wait
    version: str = "3.1.1"
    username: str | None = None
    password: str | None = None
    tls: TlsFiles | None = None

    def __repr__(self) -> str:
        """Without the password: this may stand in a log."""
        return f"Access({', '.join(f'{host}:{port}' for host, port in self.brokers)}, tls={self.tls is not None})"


HOST_PORT = r"^(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+)(:\d{1,5})?$"  # a name, an address, [IPv6]; then a port


def host_port(text: str, port: int) -> tuple[str, int]:
    """`10.20.0.3`, `broker-2:8883` or `[fd00::3]:8883`; `port` where the text names none."""
    host, colon, number = text.rpartition(":") if re.search(r":\d+$", text) else (text, "", "")
    return host.strip("[]"), int(number) if colon else port


def tls_files(folder: Path, ca: Path | None, cert: Path | None, key: Path | None) -> TlsFiles | None:
    """From a [broker] table that `tls_misfits` finds nothing wrong with; None: no TLS."""
    if ca is None:
        return None
    return TlsFiles(folder / ca, folder / cert if cert else None, folder / key if key else None)


def tls_misfits(
    folder: Path, ca: Path | None, cert: Path | None, key: Path | None
) -> Iterator[tuple[str, str | None, str]]:
    """What does not fit in the TLS keys of a [broker] table: key, value, what to do."""
    if ca is None and (cert or key):
        yield "tls_ca", None, "tls_cert and tls_key need the CA's certificate beside them; give tls_ca"
    if (cert is None) != (key is None):
        missing = "tls_cert" if cert is None else "tls_key"
        yield missing, None, "certificate and key go together; give both, or neither"
    for name, file in (("tls_ca", ca), ("tls_cert", cert), ("tls_key", key)):
        if file is not None and not (folder / file).is_file():
            yield name, str(file), f"is not there, seen from {folder}; `bollard pki` makes it"


def pauses(most_s: float, chance: random.Random, first_s: float = FIRST_PAUSE_S) -> Iterator[float]:
    """Seconds to wait before each attempt: a share of a bound that doubles up to `most_s`, all of it by chance.

    A fleet that lost its broker in one instant must not come back in one instant: with a wait that is partly
    fixed, attempts of all gateways stay in step.
    """
    bound_s = min(first_s, most_s)
    while True:
        yield chance.uniform(0.0, bound_s)
        bound_s = min(most_s, 2.0 * bound_s)


class Connection:
    """Stays connected from `start` to `stop`. Callbacks run in the event loop.

    Args:
        on_connect: Called after each connect, with `connected` true: subscribe here.
        on_message: Called with topic and payload.
        will: Topic and payload that the broker publishes, retained, if we go without a goodbye.
        on_subscribed: Called once, when the broker has granted a subscription for the first time.
    """

    def __init__(
        self, access: Access, client_id: str, on_connect: Callable[[], None],
        on_message: Callable[[str, bytes], None], will: tuple[str, bytes] | None = None,
        on_subscribed: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self._access = access
        self._on_connect, self._on_subscribed = on_connect, on_subscribed
        self._loop = asyncio.get_running_loop()
        five = access.version == "5"
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=None if five else True,
            protocol=VERSIONS[access.version], reconnect_on_failure=False,
        )  # fmt: skip
        self._clean_start: bool | Literal[3] = True if five else mqtt.MQTT_CLEAN_START_FIRST_ONLY
        client = self._client
        client.max_inflight_messages_set(IN_FLIGHT)
        client.max_queued_messages_set(10 * IN_FLIGHT)
        client.connect_timeout = ANSWER_S
        if access.username is not None:
            client.username_pw_set(access.username, access.password)
        if will is not None:
            client.will_set(*will, qos=1, retain=True)
        client.on_connect = self._greet
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self._call(self._lost, str(reason))
        client.on_message = lambda _c, _u, message: self._call(on_message, message.topic, bytes(message.payload))
        client.on_subscribe = lambda _c, _u, _mid, codes, _p: self._call(self._subscribed, codes)
        self.connected = False
        self.subscribed = False
        self.connects = 0  # since the start
        self.broker = ""  # the one that we are connected to, or try now
        self._context: ssl.SSLContext | None = None
        self._answered, self._ended = asyncio.Event(), asyncio.Event()
        self._why = ""
        self._told = ""  # why there is no broker, said once
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect in the background and stay connected."""
        self._task = self._loop.create_task(self._stay(), name="broker")

    @property
    def why(self) -> str:
        """Why there is no broker, as it was told last; empty once there is one."""
        return self._told

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> mqtt.MQTTMessageInfo:
        """QoS 1. What cannot be sent now is forgotten at the next connect."""
        return self._client.publish(topic, payload, qos=1, retain=retain)

    def subscribe(self, filters: Sequence[str]) -> None:
        self._client.subscribe([(text, 1) for text in filters])

    async def stop(self, last: tuple[str, bytes] | None = None) -> None:
        """Say goodbye: `last`, retained, then a clean end; if nobody takes it, the broker publishes the will."""
        if self._task is None:
            return
        heard = last is None
        if self.connected and last is not None:
            info = self.publish(*last, retain=True)
            end_s = time.monotonic() + GOODBYE_S
            with suppress(RuntimeError, ValueError):  # the connection has gone in this instant
                while not (heard := info.is_published()) and time.monotonic() < end_s:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        self.connected = False  # on purpose: nothing to warn of
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._hang_up(politely=heard)
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    async def lasting(self) -> None:
        """Never returns: it is for a task group, which ends with whatever bug has ended the connection."""
        assert self._task is not None
        await asyncio.shield(self._task)

    def cut(self) -> None:
        """End the connection at once, without a goodbye; the broker publishes the will."""
        line = self._client.socket()
        if line is not None:
            with suppress(OSError), socket.socket(fileno=os.dup(line.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)  # paho's thread sees the end of the stream

    async def _stay(self) -> None:
        chance = random.Random()
        waits = pauses(self._access.reconnect_s, chance)
        turn = 0
        while True:
            host, port = self._access.brokers[turn % len(self._access.brokers)]
            self.broker = f"{host}:{port}"
            began_s = time.monotonic()
            if await self._once(host, port):
                turn = 0
                if time.monotonic() - began_s > STEADY_S:
                    waits = pauses(self._access.reconnect_s, chance)
            else:
                turn += 1
            await asyncio.sleep(next(waits))

    async def _once(self, host: str, port: int) -> bool:
        """One connection from its beginning to its end. False if there never was one."""
        self._answered.clear()
        self._ended.clear()
        self._why = ""
        opening = asyncio.ensure_future(asyncio.to_thread(self._open, host, port))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:  # the thread cannot be: it must not connect behind our back
            await asyncio.wait([opening])
            opening.exception()
            raise
        except (OSError, ValueError, TlsError) as error:
            self._refused(_explain(error))
            return False
        self._client.loop_start()
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._answered.wait()
        except TimeoutError:
            self._refused(f"no answer within {ANSWER_S:.0f} s; is this an MQTT broker?")
            await self._hang_up(politely=False)
            return False
        was = self.connected
        await self._ended.wait()
        if was and self.connected:
            log.warning("event=broker_lost broker=%s reason=%r", self.broker, self._why)
        elif not was:
            self._refused(self._why or "refused")
        self.connected = self.subscribed = False
        await self._hang_up(politely=False)
        return was

    def _open(self, host: str, port: int) -> None:
        """Blocks until TCP and TLS stand, and CONNECT is on its way."""
        files = self._access.tls
        if files is not None:
            if self._context is None:
                self._context = files.context()
                self._client.tls_set_context(self._context)
            else:
                files.refresh(self._context)
        self._client.connect(host, port, self._access.keepalive_s, clean_start=self._clean_start)

    async def _hang_up(self, politely: bool) -> None:
        if politely and self._client.socket() is not None:
            self._client.disconnect()
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._ended.wait()
        self.cut()
        await asyncio.to_thread(self._client.loop_stop)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """From paho's thread into the event loop; nothing to do once that has closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def _greet(self, client: mqtt.Client, _user: object, _flags: object, reason: Any, _properties: object) -> None:
        """In paho's thread. It keeps what was not acknowledged, and would send it beside what we send again."""
        client.drop_out_messages()
        self._call(self._connected, bool(reason.is_failure), str(reason))

    def _connected(self, failure: bool, reason: str) -> None:
        self._answered.set()
        if failure:
            self._why = f"{reason}; check user name, password and the broker's access rules"
            return
        self._told = ""
        self.connected = True
        self.connects += 1
        log.info("event=broker_connected broker=%s", self.broker)
        self._on_connect()

    def _subscribed(self, codes: Sequence[Any]) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        if refused:
            log.warning("event=subscription_refused broker=%s reason=%r", self.broker, refused[0])
        self.subscribed = self.connected and not refused
        if self.subscribed and self._on_subscribed is not None:
            told, self._on_subscribed = self._on_subscribed, None
            told()

    def _lost(self, reason: str) -> None:
        if not self._answered.is_set() and self._access.tls is not None:
            reason += (
                "; it ends the connection before it answers:"
                " our certificate may have expired, be revoked, or be of a CA that it does not know"
            )
        self._why = self._why or reason
        self._answered.set()
        self._ended.set()

    def _refused(self, why: str) -> None:
        if why != self._told:
            log.warning("event=no_broker broker=%s reason=%r", self.broker, why)
            self._told = why


def _explain(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}; compare [broker] host and tls_ca"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with it: {error.reason or error}; check [broker] port"
    if isinstance(error, OSError):
        return f"no answer ({error.strerror or error}); check [broker] host and port"
    return str(error)
