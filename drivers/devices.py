"""From a profile and an address to a device, whatever its protocol."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from drivers.address import ModbusAddress
from drivers.opcua_settings import OpcUaSettings
from drivers.profile import Profile
from drivers.row import Row

if TYPE_CHECKING:
    from drivers.bus import Buses
    from drivers.learned import Learned


class Link(Protocol):
    """A connection, open for as long as its `async with` block.

    Attributes:
        endpoint: URL of the device, as logs and errors name it.
        requests: Sent so far.
        round_trip_s: Of the last request that was answered, NaN before the first. [s]
        faults: How often what went wrong.
    """

    endpoint: str
    requests: int
    round_trip_s: float
    faults: Counter[str]

    async def scan(self, scan: str, now_ns: Callable[[], int]) -> Row:
        """Read all points of a scan class. Raises: DeviceUnreachable, if nothing was answered."""
        ...


class Device(Protocol):
    """Something to read. `open` gives a new link each time; connecting raises DeviceUnreachable."""

    profile: Profile
    endpoint: str

    def open(self) -> AbstractAsyncContextManager[Link]: ...


def open_device(
    profile: Profile,
    address: ModbusAddress | None = None,
    *,
    host: str = "",
    port: int = 0,
    unit_id: int = 1,
    url: str = "",
    opcua: OpcUaSettings | None = None,
    timeout_s: float = 1.0,
    buses: "Buses | None" = None,
    learned: "Learned | None" = None,
) -> Device:
    """Make the device that a profile describes. Nothing is sent, and only its protocol's library is imported.

    Args:
        profile: What the device offers; its protocol decides which of the addresses below is meant.
        address: Where a Modbus device is, and what was agreed about it.
        host: Address of a Modbus TCP device, where nothing else is to be said of it; with `port` and `unit_id`.
        url: Endpoint of an OPC UA server, as in `opc.tcp://10.20.0.7:4840`.
        opcua: How the OPC UA server is to be spoken to, with absolute paths.
        timeout_s: Deadline of connecting, and of each request. [s]
        buses: Through which Modbus devices share connections and lines; without, a device has its own.
        learned: What commissioning found out about a Modbus device.

    Raises: ProfileError, for what only the protocol can tell (a node id that is none, a coil with an int32).
    """
    if profile.protocol == "opcua":
        from drivers.opcua import OpcUaDevice  # 25 MB that a site without OPC UA does without

        return OpcUaDevice(profile, url, timeout_s, opcua)
    from drivers.modbus import ModbusDevice

    return ModbusDevice(profile, address or ModbusAddress(host, port, unit_id), timeout_s, buses, learned)
