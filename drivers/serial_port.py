"""Which serial port is meant. pyserial is loaded only where a site has one."""

import os

USB = "usb:"


def check_serial(name: str) -> str:
    """What is wrong with the name of a serial port; empty if nothing is."""
    if not name.startswith(USB):
        return "" if name.startswith("/") else "give a path, as in /dev/ttyUSB0, or usb:VID:PID[:SERIALNUMBER]"
    parts = name.removeprefix(USB).split(":", 2)
    hexadecimal = all(len(part) == 4 and all(c in "0123456789abcdefABCDEF" for c in part) for part in parts[:2])
    if len(parts) < 2 or not hexadecimal or "" in parts:
        return "give usb:VID:PID[:SERIALNUMBER] with four hexadecimal digits each, as in usb:0403:6001:A9VKXT2B"
    return ""


def find_port(name: str) -> str:
    """The path of a serial port, looked up by its USB identity where that is what the name says.

    Raises: OSError, if no adapter or more than one has this identity.
    """
    if not name.startswith(USB):
        if not os.path.exists(name):
            raise FileNotFoundError(2, f"{name} is not there; is the adapter plugged in?")
        return name
    from serial.tools.list_ports import comports

    vid, pid, *serial = name.removeprefix(USB).split(":", 2)
    adapters = [port for port in comports() if port.vid is not None]
    found = [
        port.device for port in adapters
        if (port.vid, port.pid) == (int(vid, 16), int(pid, 16)) and (not serial or port.serial_number == serial[0])
    ]  # fmt: skip
    if len(found) == 1:
        return str(found[0])
    there = ", ".join(f"usb:{p.vid:04x}:{p.pid:04x}:{p.serial_number or '-'} ({p.device})" for p in adapters)
    wrong = "is not plugged in" if not found else "is there more than once; add the serial number"
    raise FileNotFoundError(2, f"{name} {wrong}; plugged in: {there or 'no USB serial adapter'}")
