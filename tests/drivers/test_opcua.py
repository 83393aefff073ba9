"""The OPC UA driver against a real server, and over a wire that is listened to, stopped and cut."""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from asyncua import Server, ua

from drivers.errors import DeviceUnreachable, ProfileError
from drivers.opcua import OpcUaDevice
from drivers.profile import Profile, load_profile
from drivers.readonly import OPCUA_SERVICES, NotARead
from drivers.row import Quality

pytestmark = pytest.mark.asyncio(loop_scope="module")
TIMEOUT_S = 2.0
SOURCE_TIME = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SOURCE_T_NS = 1_772_366_400_250_000_000


def now_ns() -> int:
    return 1_700_000_000_000_000_000


def profile_of(*points: dict[str, Any]) -> Profile:
    head = {"schema": 1, "kind": "battery", "model": "test", "source": "this test", "protocol": "opcua"}
    return Profile.model_validate(head | {"point": [{"node": f"ns=2;s={p['name']}"} | p for p in points]})


def value(content: Any, kind: ua.VariantType | None = None, status: int = 0) -> ua.DataValue:
    return ua.DataValue(ua.Variant(content, kind), ua.StatusCode(status), SourceTimestamp=SOURCE_TIME)


class BatteryServer:
    """A server in which `await put(name, DataValue)` makes the node ns=2;s=name, or sets it."""

    def __init__(self) -> None:
        self.server = Server()
        self.shown: dict[str, ua.DataValue] = {}
        self.port = 0

    async def start(self) -> None:
        await self.server.init()
        self.server.set_endpoint("opc.tcp://127.0.0.1:0/bollard")
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await self.server.register_namespace("urn:test")
        await self.server.start()
        self.port = self.server.bserver._server.sockets[0].getsockname()[1]

    async def put(self, name: str, content: ua.DataValue) -> None:
        node_id = ua.NodeId.from_string(name if name.startswith("ns=") else f"ns=2;s={name}")
        if name not in self.shown:
            await self.server.nodes.objects.add_variable(node_id, name, 0.0)
        self.shown[name] = content
        self.server.set_attribute_value_callback(node_id, lambda *_: self.shown[name])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def battery() -> AsyncIterator[BatteryServer]:
    battery = BatteryServer()
    await battery.start()
    yield battery
    await battery.server.stop()


def device_at(port: int, profile: Profile, timeout_s: float = TIMEOUT_S) -> OpcUaDevice:
    return OpcUaDevice(profile, f"opc.tcp://127.0.0.1:{port}/bollard", timeout_s)


async def read_one(battery: BatteryServer, content: ua.DataValue, **point: Any) -> tuple[float, int, Any]:
    """Value, quality and text of one point that the server shows as `content`."""
    await battery.put("x", content)
    async with device_at(battery.port, profile_of({"name": "x", **point})).open() as link:
        row = await link.scan("live", now_ns)
    return row.values[0], row.quality[0], row.text.get(0)


async def test_the_shipped_battery_is_read_each_point_with_its_own_value(battery: BatteryServer) -> None:
    profile = load_profile("generic-bms")
    expected = []
    for i, point in enumerate(profile.points):
        low, high = point.range or (0, 1000)
        number = low + (high - low) * (i + 1) / 32 if point.type == "float64" else min(i, int(high))
        content = "AURELIE" if point.type == "string" else number
        await battery.put(point.node, value(content))
        expected.append(np.nan if point.type == "string" else number)
    async with device_at(battery.port, profile).open() as link:
        live, slow = [await link.scan(scan, now_ns) for scan in ("live", "slow")]
        assert link.requests == 2 and link.faults == {} and 0.0 < link.round_trip_s < TIMEOUT_S
    np.testing.assert_array_equal(live.values, expected)
    assert live.quality.tolist() == 14 * [Quality.GOOD] + [Quality.NOT_SCANNED]
    assert live.t_ns == now_ns() and live.text == {}
    assert slow.text == {14: "AURELIE"} and slow.quality[14] == Quality.GOOD


@pytest.mark.parametrize(
    ("content", "point", "expected"),
    [
        (value(1.25, ua.VariantType.Float), {"type": "float32"}, (1.25, Quality.GOOD)),
        (value(-7, ua.VariantType.Int16), {"type": "int16"}, (-7.0, Quality.GOOD)),
        (value(7, ua.VariantType.Int64), {"type": "float64"}, (7.0, Quality.GOOD)),
        (value(True), {"type": "bool"}, (1.0, Quality.GOOD)),
        (value(6, ua.VariantType.Byte), {"type": "bool", "bit": 2}, (1.0, Quality.GOOD)),
        (value(6, ua.VariantType.Byte), {"type": "bool", "bit": 0}, (0.0, Quality.GOOD)),
        (value(3, ua.VariantType.UInt16), {"type": "uint16", "scale": 0.1}, (0.3, Quality.GOOD)),
        (value(2**53, ua.VariantType.Int64), {"type": "int64"}, (2.0**53, Quality.GOOD)),
        (value(2**53 + 1, ua.VariantType.Int64), {"type": "int64"}, (np.nan, Quality.TOO_LARGE)),
        (value(0x8000, ua.VariantType.UInt16), {"type": "uint16", "invalid": 0x8000}, (np.nan, Quality.UNKNOWN)),
        (value(-1, ua.VariantType.Int32), {"type": "int32", "invalid": 0xFFFF_FFFF}, (np.nan, Quality.UNKNOWN)),
        (value(float("nan")), {"type": "float64"}, (np.nan, Quality.UNKNOWN)),
        (value(float("inf")), {"type": "float64"}, (np.nan, Quality.OUT_OF_RANGE)),
        (value(float("inf")), {"type": "float64", "invalid": 0}, (np.nan, Quality.OUT_OF_RANGE)),
        (value(1e300), {"type": "uint32"}, (np.nan, Quality.TOO_LARGE)),
        (value(1.5), {"type": "float64", "range": (0, 1)}, (np.nan, Quality.OUT_OF_RANGE)),
        (value(1.5), {"type": "uint16"}, (np.nan, Quality.NONSENSE)),
        (value("1.5"), {"type": "float64"}, (np.nan, Quality.NONSENSE)),
        (value([1.5, 2.5]), {"type": "float64"}, (np.nan, Quality.NONSENSE)),
        (value(None), {"type": "float64"}, (np.nan, Quality.UNKNOWN)),
    ],
)  # fmt: skip
async def test_what_a_value_becomes(
    battery: BatteryServer, content: ua.DataValue, point: dict[str, Any], expected: tuple[float, Quality]
) -> None:
    number, quality, _ = await read_one(battery, content, **point)
    assert quality == expected[1]
    np.testing.assert_equal(number, expected[0])


@pytest.mark.parametrize(
    ("content", "text", "quality"),
    [
        (value("Aurélie "), "Aurélie", Quality.GOOD),
        (value(""), "", Quality.GOOD),
        (value(ua.LocalizedText("Aurélie", "fr")), "Aurélie", Quality.GOOD),
        (value(7), None, Quality.NONSENSE),
        (value("a\x07b"), None, Quality.NONSENSE),
    ],
)
async def test_what_a_text_becomes(
    battery: BatteryServer, content: ua.DataValue, text: str | None, quality: Quality
) -> None:
    seen = await read_one(battery, content, type="string", length=8)
    assert np.isnan(seen[0]) and seen[1:] == (quality, text)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (ua.StatusCodes.GoodClamped, (42.0, Quality.GOOD)),
        (ua.StatusCodes.UncertainLastUsableValue, (42.0, Quality.UNCERTAIN)),
        (ua.StatusCodes.BadNoCommunication, (np.nan, Quality.NO_ANSWER)),
        (ua.StatusCodes.BadWaitingForInitialData, (np.nan, Quality.UNKNOWN)),
        (ua.StatusCodes.BadUserAccessDenied, (np.nan, Quality.REFUSED)),
    ],
)
async def test_a_status_becomes_a_quality(
    battery: BatteryServer, status: int, expected: tuple[float, Quality]
) -> None:
    number, quality, _ = await read_one(battery, value(42.0, status=status), type="float64")
    assert quality == expected[1]
    np.testing.assert_equal(number, expected[0])


async def test_an_uncertain_value_out_of_range_is_out_of_range(battery: BatteryServer) -> None:
    content = value(42.0, status=ua.StatusCodes.UncertainLastUsableValue)
    number, quality, _ = await read_one(battery, content, type="float64", range=(0, 1))
    assert np.isnan(number) and quality == Quality.OUT_OF_RANGE


async def test_an_unknown_node_spoils_only_itself_and_is_logged_once(
    battery: BatteryServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await battery.put("here", value(1.0))
    points = [{"name": name, "type": "float64"} for name in ("here", "nowhere")]
    device = device_at(battery.port, profile_of(*points))
    for _ in range(2):
        async with device.open() as link:
            row = await link.scan("live", now_ns)
            assert row.values[0] == 1.0 and row.quality.tolist() == [Quality.GOOD, Quality.REFUSED]
            assert link.faults == {"BadNodeIdUnknown": 1}
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("drivers", "asyncua.client"))]
    assert len(ours) == 1 and "nowhere (ns=2;s=nowhere): BadNodeIdUnknown" in ours[0]


async def test_the_sources_time_and_the_servers_clock_are_there_to_see(battery: BatteryServer) -> None:
    await battery.put("x", value(1.0))
    points = [{"name": "gone", "type": "float64"}, {"name": "x", "type": "float64"}]
    before_s = datetime.now(UTC).timestamp()
    async with device_at(battery.port, profile_of(*points)).open() as link:
        await link.scan("live", lambda: round(before_s * 1e9))
        assert link.source_t_ns[1] == SOURCE_T_NS
        assert 0.0 <= link.clock_offset_s < 2.0  # the server's clock is ours here; now_ns stands still


async def test_only_reading_services_are_on_the_wire(battery: BatteryServer, wire_to: Callable) -> None:
    wire = await wire_to(battery.port)
    await battery.put("x", value(1.0))
    device = device_at(wire.port, profile_of({"name": "x", "type": "float64"}))
    async with device.open() as link:
        assert (await link.scan("live", now_ns)).values[0] == 1.0
        sent = len(wire.sent)
        client = link._client
        node = client.get_node("ns=2;s=x")
        forbidden = [
            node.write_value(9.0),
            client.get_objects_node().call_method(ua.NodeId(11492)),
            client.uaclient.write(ua.WriteParameters()),
            client.uaclient.call([]),
            client.uaclient.add_nodes([]),
            client.uaclient.delete_nodes(ua.DeleteNodesParameters()),
            client.uaclient.history_update(ua.HistoryUpdateParameters()),
            client.uaclient.register_nodes([]),
        ]
        for request in forbidden:
            with pytest.raises(NotARead, match="not sent"):
                await request
        assert len(wire.sent) == sent
        assert (await link.scan("live", now_ns)).values[0] == 1.0
    services = services_in(wire.sent)
    assert set(services) <= OPCUA_SERVICES
    assert services.count("ReadRequest") == 3 + 2, "the server's limits, and two scans"
    assert "CloseSessionRequest" in services


def services_in(sent: bytes) -> list[str]:
    """Names of the requests in a client's bytes, security None: OPC UA part 6, 6.7.2."""
    names = []
    while sent:
        kind, (size,) = bytes(sent[:3]), struct.unpack("<I", sent[4:8])
        if kind == b"MSG" or kind == b"CLO":
            names.append(ua.ObjectIdNames[struct.unpack("<H", sent[26:28])[0]].split("_Encoding")[0])
        sent = sent[size:]
    return names


async def test_a_link_leaves_no_task_behind(battery: BatteryServer) -> None:
    await battery.put("x", value(1.0))
    before = {t for t in asyncio.all_tasks() if "drivers" in repr(t) or "asyncua/client" in repr(t)}
    async with device_at(battery.port, profile_of({"name": "x", "type": "float64"})).open() as link:
        await link.scan("live", now_ns)
        during = {t for t in asyncio.all_tasks() if "asyncua/client" in repr(t)}
    assert during <= before


async def test_the_channel_is_renewed_by_a_scan(battery: BatteryServer, wire_to: Callable) -> None:
    wire = await wire_to(battery.port)
    await battery.put("x", value(1.0))
    async with device_at(wire.port, profile_of({"name": "x", "type": "float64"})).open() as link:
        opened = wire.sent.count(b"OPNF")
        link._renew_at_s = 0.0
        for _ in range(3):
            assert (await link.scan("live", now_ns)).values[0] == 1.0
        assert wire.sent.count(b"OPNF") == opened + 1


async def test_a_cut_wire_is_noticed_at_once(battery: BatteryServer, wire_to: Callable) -> None:
    wire = await wire_to(battery.port)
    await battery.put("x", value(1.0))
    device = device_at(wire.port, profile_of({"name": "x", "type": "float64"}))
    async with device.open() as link:
        await link.scan("live", now_ns)
        wire.flows.clear()
        asking = asyncio.create_task(link.scan("live", now_ns))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(0.75 * TIMEOUT_S):
            wire.cut()
            with pytest.raises(DeviceUnreachable):
                await asking
            with pytest.raises(DeviceUnreachable, match="connection lost"):
                await link.scan("live", now_ns)
    wire.flows.set()
    async with device.open() as link:
        assert (await link.scan("live", now_ns)).values[0] == 1.0


async def test_a_frozen_server_costs_one_deadline(battery: BatteryServer, wire_to: Callable) -> None:
    wire = await wire_to(battery.port)
    await battery.put("x", value(1.0))
    device = device_at(wire.port, profile_of({"name": "x", "type": "float64"}), timeout_s=1.0)
    async with device.open() as link:
        wire.flows.clear()
        async with asyncio.timeout(1.9):
            with pytest.raises(DeviceUnreachable, match=r"no answer within 1 s"):
                await link.scan("live", now_ns)
        assert link.faults == {"no_answer": 1}
        async with asyncio.timeout(0.9):  # nothing of the session is left to be waited for
            with pytest.raises(DeviceUnreachable):
                await link.scan("live", now_ns)
        closing_s = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - closing_s < 0.9


async def test_a_server_that_says_nothing_opens_no_session() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(1.9):
        with pytest.raises(DeviceUnreachable, match="no session: no answer"):
            async with device_at(port, profile_of({"name": "x", "type": "float64"}), 1.0).open():
                pass
    server.close()


async def test_no_server_is_said_in_one_line(unused_tcp_port: int) -> None:
    with pytest.raises(DeviceUnreachable) as raised:
        async with device_at(unused_tcp_port, profile_of({"name": "x", "type": "float64"})).open():
            pass
    assert str(raised.value) == (
        f"opc.tcp://127.0.0.1:{unused_tcp_port}/bollard: no session: connection refused;"
        " nothing listens on that port"
    )


async def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(
        ValueError, match=r"^opc\.tcp://127\.0\.0\.1:4840/x: user and password do not go"
    ) as raised:
        OpcUaDevice(profile_of({"name": "x", "type": "float64"}), "opc.tcp://port:s3cret@127.0.0.1:4840/x")
    assert "s3cret" not in str(raised.value)


async def test_cancelling_passes_untouched(battery: BatteryServer, wire_to: Callable) -> None:
    wire = await wire_to(battery.port)
    await battery.put("x", value(1.0))
    device = device_at(wire.port, profile_of({"name": "x", "type": "float64"}))
    asking = asyncio.Event()

    async def forever() -> None:
        async with device.open() as link:
            wire.flows.clear()
            asking.set()
            await link.scan("live", now_ns)

    task = asyncio.create_task(forever())
    await asking.wait()
    await asyncio.sleep(0.02)
    task.cancel()
    wire.flows.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_answer_in_the_instant_of_a_deadline_ends_no_poller(
    battery: BatteryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncua's wait raises a cancellation of its own then; nobody has cancelled."""

    class OfTheWait(asyncio.CancelledError):
        pass

    async def wait(_: object) -> None:
        raise OfTheWait

    device = device_at(battery.port, profile_of({"name": "x", "type": "float64"}))
    monkeypatch.setattr("drivers.opcua_session.Session._open", wait)
    with pytest.raises(DeviceUnreachable, match="no answer within"):
        async with device.open():
            pass


async def test_every_wrong_node_id_is_named() -> None:
    points = [
        {"name": n, "type": "float64", "node": node}
        for n, node in [("a", "Pack.Voltage"), ("b", "ns=2;s=x"), ("c", "ns=x;i=1")]
    ]
    with pytest.raises(ProfileError) as raised:
        OpcUaDevice(profile_of(*points), "opc.tcp://127.0.0.1:1")
    assert [line.split(":")[0] for line in str(raised.value).splitlines()] == ["point a", "point c"]
