"""One way to open a device, whatever its protocol."""

import pytest

from drivers.devices import open_device
from drivers.errors import DeviceUnreachable
from drivers.modbus import ModbusDevice
from drivers.opcua import OpcUaDevice
from drivers.profile import load_profile


def test_the_profile_decides_the_protocol() -> None:
    charger = open_device(load_profile("generic-charger"), host="plc.test", port=1502, unit_id=7)
    assert isinstance(charger, ModbusDevice) and charger.endpoint == "modbus://plc.test:1502/7"
    battery = open_device(load_profile("generic-bms"), url="opc.tcp://bms.test:4840")
    assert isinstance(battery, OpcUaDevice) and battery.endpoint == "opc.tcp://bms.test:4840"


@pytest.mark.parametrize("name", ["generic-charger", "generic-bms"])
async def test_an_absent_device_is_unreachable_under_either_protocol(name: str, unused_tcp_port: int) -> None:
    url = f"opc.tcp://127.0.0.1:{unused_tcp_port}"
    device = open_device(load_profile(name), host="127.0.0.1", port=unused_tcp_port, url=url, timeout_s=0.5)
    with pytest.raises(DeviceUnreachable, match="connection refused"):
        async with device.open():
            pass
