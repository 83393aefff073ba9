"""An OPC UA server for one device, with the nodes that its profile names."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from asyncua import Server, ua

from drivers.profile import Point, Profile
from firmware_sim.encode import Value, Values, raw_of

_VARIANTS = {
    "bool": ua.VariantType.Boolean, "uint16": ua.VariantType.UInt16, "int16": ua.VariantType.Int16,
    "uint32": ua.VariantType.UInt32, "int32": ua.VariantType.Int32, "uint64": ua.VariantType.UInt64,
    "int64": ua.VariantType.Int64, "float32": ua.VariantType.Float, "float64": ua.VariantType.Double,
    "string": ua.VariantType.String,
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GOOD = ua.StatusCode(ua.StatusCodes.Good)
_NO_DATA = ua.StatusCode(ua.StatusCodes.BadNoData)


class OpcUaServer:
    """Serves `values` with the simulated time as source timestamp.

    Values are pushed by `refresh`, not computed when read, so that subscriptions see them change too.
    """

    def __init__(self, name: str, profile: Profile, values: Callable[[], Values]) -> None:
        self._name = name
        self._points = profile.points
        self._values = values
        self._server = Server()
        self._nodes: list[tuple[ua.NodeId, Point]] = []

    async def start(self, host: str, port: int, now_ns: int) -> str:
        """Listen; 0 picks a free port. Returns: the URL. Raises: OSError if the port is taken."""
        server = self._server
        await server.init()
        server.set_server_name(f"bollard simulator: {self._name}")
        server.set_endpoint(f"opc.tcp://{host}:{port}/{self._name}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
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
        assert server.bserver is not None and server.bserver._server is not None
        taken: int = server.bserver._server.sockets[0].getsockname()[1]
        return f"opc.tcp://{host}:{taken}/{self._name}"

    async def refresh(self, now_ns: int) -> None:
        """Give every node its value of now."""
        values = self._values()
        source = (_EPOCH + timedelta(microseconds=now_ns // 1000)).replace(tzinfo=None)
        for node_id, point in self._nodes:
            await self._server.write_attribute_value(node_id, _data_value(point, values.get(point.name), source))

    async def refresh_forever(self, now_ns: Callable[[], int], interval_s: float) -> None:
        """Refresh every `interval_s` of real time, until cancelled."""
        while True:
            await self.refresh(now_ns())
            await asyncio.sleep(interval_s)

    async def stop(self) -> None:
        """Close all sessions and stop listening."""
        clock = self._server.iserver.time_task
        if clock is not None:  # stopping would wait for its next second
            clock.cancel()
            self._server.iserver.time_task = None
        await self._server.stop()


def _data_value(point: Point, value: Value, source: datetime) -> ua.DataValue:
    variant = _VARIANTS[point.type]
    if value is None:
        return ua.DataValue(ua.Variant(None, ua.VariantType.Null), _NO_DATA, source)
    if isinstance(value, str) or point.type == "string":
        return ua.DataValue(ua.Variant(str(value), variant), _GOOD, source)
    raw = raw_of(point, value)
    return ua.DataValue(ua.Variant(bool(raw) if point.type == "bool" else raw, variant), _GOOD, source)
