"""An OPC UA server for one device, with the nodes that its profile names."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from asyncua import Server, ua

from drivers.profile import Point, Profile
from firmware_sim.encode import Value, Values, raw_of
from firmware_sim.faults import FaultBoard
from firmware_sim.opcua_faults import Sessions, Subscriptions
from firmware_sim.opcua_security import APPLICATION_URI, server_identity
from firmware_sim.value_faults import ValueFaults

_VARIANTS = {
    "bool": ua.VariantType.Boolean, "uint16": ua.VariantType.UInt16, "int16": ua.VariantType.Int16,
    "uint32": ua.VariantType.UInt32, "int32": ua.VariantType.Int32, "uint64": ua.VariantType.UInt64,
    "int64": ua.VariantType.Int64, "float32": ua.VariantType.Float, "float64": ua.VariantType.Double,
    "string": ua.VariantType.String,
}  # fmt: skip
_POLICIES = {
    "anonymous": [ua.SecurityPolicyType.NoSecurity],
    "sign-encrypt": [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt],
    "both": [ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt],
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GOOD = ua.StatusCode(ua.StatusCodes.Good)
_NO_DATA = ua.StatusCode(ua.StatusCodes.BadNoData)
_NO_NODE = ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)
_SENSOR_FAILURE = ua.StatusCode(ua.StatusCodes.BadSensorFailure)
HISTORY_LENGTH = 20_000  # values of a node that are kept


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """asyncua makes 148 000 attributes that all stay: looking for garbage among them again and again takes 0.5 s
    of the 1.3 s of processor time that its start costs (measured with Python 3.11)."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class OpcUaServer:
    """Serves `values` with the simulated time as source timestamp.

    Values are pushed by `refresh`, not computed when read, so that subscriptions see them change too.

    Args:
        security: anonymous (no encryption), sign-encrypt (Basic256Sha256 only) or both. A client may use any
            certificate; who it is, is not asked.
        history: Names of the points of which a history is kept.
        faults: With the board that they are on; None for a server that never fails.
    """

    def __init__(
        self,
        name: str,
        profile: Profile,
        values: Callable[[], Values],
        security: str = "anonymous",
        history: tuple[str, ...] = (),
        board: FaultBoard | None = None,
        faults: ValueFaults | None = None,
    ) -> None:
        self._name = name
        self._points = profile.points
        self._values = values
        self._security = security
        self._history = history
        self._board = FaultBoard() if board is None else board
        self._faults = faults
        self._server = Server()
        self._nodes: list[tuple[ua.NodeId, Point]] = []
        self._hidden: dict[ua.NodeId, object] = {}  # nodes that a fault has taken away
        self._sessions = Sessions(self._server)
        self._subscriptions = Subscriptions(self._server)
        self._restarted_ns: int | None = None  # beginning of the fault that was obeyed
        self._dropped_ns: int | None = None
        self._return: asyncio.Task[None] | None = None
        self._listening = False
        self._now_ns: Callable[[], int] = lambda: 0

    async def start(self, host: str, port: int, now_ns: int) -> str:
        """Listen; 0 picks a free port. Returns: the URL. Raises: OSError if the port is taken."""
        server = self._server
        with _without_collector():
            await server.init()
        server.set_server_name(f"bollard simulator: {self._name}")
        server.set_endpoint(f"opc.tcp://{host}:{port}/{self._name}")
        server.set_security_policy(_POLICIES[self._security])
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        if self._security != "anonymous":
            await server.set_application_uri(APPLICATION_URI)
            key, certificate = server_identity()
            await server.load_private_key(key, format="pem")
            await server.load_certificate(certificate, "pem")
        highest = max(ua.NodeId.from_string(point.node or "").NamespaceIndex for point in self._points)
        while len(await server.get_namespace_array()) <= highest:
            await server.register_namespace(f"urn:bollard:sim:{len(await server.get_namespace_array())}")
        folder = await server.nodes.objects.add_object(ua.NodeId(self._name, 2), self._name)
        for point in self._points:
            node_id = ua.NodeId.from_string(point.node or "")
            variant = _VARIANTS[point.type]
            start = ua.Variant("" if point.type == "string" else 0, variant)
            await folder.add_variable(node_id, point.name, start, varianttype=variant)
            self._nodes.append((node_id, point))
        await self.refresh(now_ns)
        await server.start()
        for node_id, point in self._nodes:
            if point.name in self._history:  # kept by count: simulated time has no age
                await server.iserver.enable_history_data_change(server.get_node(node_id), None, HISTORY_LENGTH)
        assert server.bserver is not None and server.bserver._server is not None
        self._listening = True
        taken: int = server.bserver._server.sockets[0].getsockname()[1]
        return f"opc.tcp://{host}:{taken}/{self._name}"

    async def refresh(self, now_ns: int) -> None:
        """Give every node its value of now."""
        values, failed = self._values(), None
        if not self._board.untouched(self._name):
            if self._faults is not None:
                values, _ = self._faults.now(values)
            jump = self._board.get(self._name, "clock-jump")
            now_ns += round(jump.number("by_s") * 1e9) if jump is not None else 0
            failed = self._faulty_point("bad-sensor-failure")
            await self._hide(self._faulty_point("unknown-node"))
            self._subscriptions.silence(self._board.get(self._name, "silent-subscription"))
        source = _EPOCH + timedelta(microseconds=now_ns // 1000)
        for node_id, point in self._nodes:
            if node_id in self._hidden:
                continue
            found = self._data_value(point, values.get(point.name), source)
            if point.name == failed:
                found = ua.DataValue(ua.Variant(None, ua.VariantType.Null), _SENSOR_FAILURE, source)
            await self._server.write_attribute_value(node_id, found)

    async def refresh_forever(self, now_ns: Callable[[], int], interval_s: float) -> None:
        """Refresh every `interval_s` of real time, until cancelled."""
        self._now_ns = now_ns
        while True:
            await self.refresh(now_ns())
            await asyncio.sleep(interval_s)

    async def apply(self) -> None:
        """Bring about what the board says now: sessions, the socket, nodes, subscriptions."""
        drop = self._board.get(self._name, "session-drop")
        if drop is not None and drop.since_ns != self._dropped_ns:
            self._dropped_ns = drop.since_ns
            await self._sessions.end()
        refuse = self._board.get(self._name, "refuse-connections") is not None
        restart = self._board.get(self._name, "server-restart")
        if restart is not None and restart.since_ns != self._restarted_ns:
            self._restarted_ns = restart.since_ns
            await self._leave()
            self._return = asyncio.create_task(self._come_back(restart.number("away_s")), name="restart")
        if refuse:
            await self._leave()
        elif not self._listening and (self._return is None or self._return.done()):
            await self._listen()
        await self.refresh(self._now_ns())

    async def stop(self) -> None:
        """Close all sessions and stop listening."""
        if self._return is not None:
            self._return.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._return
        clock = self._server.iserver.time_task
        if clock is not None:  # stopping would wait for its next second
            clock.cancel()
            self._server.iserver.time_task = None
        await self._server.stop()

    async def _leave(self) -> None:
        if self._listening:
            self._listening = False
            await self._sessions.forget()
            await self._server.bserver.stop()

    async def _listen(self) -> None:
        started = self._server.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_StartTime))
        await started.write_value(datetime.now(UTC))
        await self._server.bserver.start()
        self._listening = True

    async def _come_back(self, away_s: float) -> None:
        await asyncio.sleep(away_s)
        if not self._board.get(self._name, "refuse-connections"):
            await self._listen()

    def _faulty_point(self, fault_name: str) -> str | None:
        fault = self._board.get(self._name, fault_name)
        return None if fault is None else fault.text("point") or self._points[0].name

    async def _hide(self, name: str | None) -> None:
        """Take the node of one point out of the address space, and put back the others.

        Who watches it is told, as a server that deletes a node has to; asyncua forgets to.
        """
        space = self._server.iserver.aspace
        wanted = {node_id for node_id, point in self._nodes if point.name == name}
        for node_id in set(self._hidden) - wanted:
            space[node_id] = self._hidden.pop(node_id)
        for node_id in wanted - set(self._hidden):
            self._hidden[node_id] = node = space[node_id]
            del space[node_id]
            gone = ua.DataValue(ua.Variant(None, ua.VariantType.Null), _NO_NODE)
            for handle, told in list(node.attributes[ua.AttributeIds.Value].datachange_callbacks.items()):
                await told(handle, gone)

    def _data_value(self, point: Point, value: Value, source: datetime) -> ua.DataValue:
        variant = _VARIANTS[point.type]
        instead = None if self._faults is None or self._faults.none else self._faults.raw(point)
        if instead is not None:
            return ua.DataValue(ua.Variant(instead, variant), _GOOD, source)
        if value is None:
            return ua.DataValue(ua.Variant(None, ua.VariantType.Null), _NO_DATA, source)
        if isinstance(value, str) or point.type == "string":
            return ua.DataValue(ua.Variant(str(value), variant), _GOOD, source)
        raw = raw_of(point, value)
        return ua.DataValue(ua.Variant(bool(raw) if point.type == "bool" else raw, variant), _GOOD, source)
