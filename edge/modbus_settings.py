"""From a device's table in the site file to a Modbus address, and what does not fit together in it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.address import ModbusAddress, conflicts, host_problem
from drivers.serial_port import check_serial

if TYPE_CHECKING:
    from edge.config import DeviceConfig

Wrong = Callable[[str, object, str], None]  # key, value seen, what is wrong and what to do
SERIAL_KEYS = ("serial", "baud", "parity", "stop_bits", "listen_s")
TLS_KEYS = ("tls_ca", "tls_cert", "tls_key", "tls_name")
MODBUS_KEYS = ("transport", "host", "port", "unit_id", "max_requests_per_s", "pause_s", *SERIAL_KEYS, *TLS_KEYS)
HIGHEST_SERIAL_UNIT = 247  # MODBUS over Serial Line 1.02, section 2.2


def modbus_address(device: "DeviceConfig", folder: Path) -> ModbusAddress:
    """Where a Modbus device is. `folder`: where relative paths of TLS files start."""

    def file(path: Path | None) -> str:
        return str(folder / path) if path is not None else ""

    return ModbusAddress(
        host=device.host or "", port=device.port or 0, unit_id=device.unit_id, transport=device.transport,
        serial=device.serial or "", baud=device.baud, parity=device.parity,
        stop_bits=device.stop_bits or (2 if device.parity == "N" else 1),
        max_requests_per_s=device.max_requests_per_s, pause_s=device.pause_s, listen_s=device.listen_s,
        tls_ca=file(device.tls_ca), tls_cert=file(device.tls_cert), tls_key=file(device.tls_key),
        tls_name=device.tls_name,
    )  # fmt: skip


def modbus_misfits(device: "DeviceConfig", key: str, folder: Path, wrong: Wrong) -> None:
    """Tell what does not fit together in the table of one Modbus device."""
    given = device.model_fields_set
    serial, transport = device.transport in ("rtu", "ascii"), device.transport
    if serial:
        if device.serial is None:
            wrong(
                f"{key}.serial", None, f'transport = "{transport}" needs serial; give a path, as in /dev/ttyUSB0'
            )
        elif problem := check_serial(device.serial):
            wrong(f"{key}.serial", device.serial, problem)
        for name in ("host", "port"):
            if name in given:
                wrong(
                    f"{key}.{name}",
                    getattr(device, name),
                    f'transport = "{transport}" is a serial line; use serial',
                )
        if not 1 <= device.unit_id <= HIGHEST_SERIAL_UNIT:
            wrong(f"{key}.unit_id", device.unit_id, "a serial line has units 1 to 247")
    else:
        if device.host is None:
            wrong(f"{key}.host", None, "a Modbus device needs host; give the PLC's address, as in 10.20.0.7")
        elif problem := host_problem(device.host):
            wrong(f"{key}.host", device.host, problem)
        for name in sorted(given & set(SERIAL_KEYS)):
            wrong(f"{key}.{name}", getattr(device, name), 'goes with a serial line; give transport = "rtu" too')
    if transport != "tls":
        for name in sorted(given & set(TLS_KEYS)):
            wrong(f"{key}.{name}", str(getattr(device, name)), 'goes with TLS; give transport = "tls" too')
        return
    if device.tls_ca is None:
        wrong(
            f"{key}.tls_ca", None, "TLS needs tls_ca: a PEM file of the authority, or of the PLC's own certificate"
        )
    if device.tls_key is not None and device.tls_cert is None:
        wrong(f"{key}.tls_key", str(device.tls_key), "needs tls_cert beside it")
    for name in ("tls_ca", "tls_cert", "tls_key"):
        path = getattr(device, name)
        if path is not None and not (folder / path).is_file():
            wrong(f"{key}.{name}", str(path), f"is not there, seen from {folder}")


def not_modbus_misfits(device: "DeviceConfig", key: str, wrong: Wrong) -> None:
    """Tell which keys of an OPC UA device's table are Modbus's."""
    for name in sorted(device.model_fields_set & set(MODBUS_KEYS)):
        wrong(f"{key}.{name}", str(getattr(device, name)), "an OPC UA device has url instead; take it out")


def sharing_misfits(devices: Iterable[tuple[int, "DeviceConfig"]], folder: Path, wrong: Wrong) -> None:
    """Tell where devices on one connection or line differ in what they have in common."""
    numbered = list(devices)
    places = {device.name: i for i, device in numbered}
    by_name = {device.name: device for _, device in numbered}
    for name, setting, problem in conflicts((d.name, modbus_address(d, folder)) for _, d in numbered):
        value = getattr(by_name[name], setting)
        wrong(f"device[{places[name]}].{setting}", str(value) if isinstance(value, Path) else value, problem)
