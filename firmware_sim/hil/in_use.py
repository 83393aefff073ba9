"""Is somebody on this machine already reading the device? Then the kit does not start.

A PLC often grants one connection, and its owner agreed to one reader. Two looks, both harmless: an agent's
site file that names the device, and any connection of this machine to its address. Another machine's
agent cannot be seen from here: the sheet asks a person.
"""

import contextlib
import ipaddress
import os
import socket
import struct
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from firmware_sim.hil.settings import Target

ESTABLISHED = "01"  # Linux, include/net/tcp_states.h
PROC = Path("/proc")


def reason_in_use(target: Target, proc: Path = PROC) -> str | None:
    """Why the device must not be read now, or None."""
    host, port = address_of(target)
    for pid, site in running_agents(proc):
        try:
            devices = tomllib.loads(site.read_text(encoding="utf-8")).get("device", [])
        except (OSError, ValueError) as error:
            return (
                f"process {pid} runs an agent whose site file {site} cannot be read ({error}); "
                "stop it, or run as its user"
            )
        for device in devices:
            if _same(device, host, port):
                spool = site.parent / "spool.db"
                return (
                    f"process {pid} runs an agent that reads {device.get('name')} at {host}:{port} "
                    f"(site file {site}, spool {spool}); stop it first: bollard never opens a second connection"
                )
    for address in _addresses(host):
        if (address, port) in connections(proc):
            return f"this machine already has a connection to {host}:{port}; end the program that holds it"
    return None


def address_of(target: Target) -> tuple[str, int]:
    if target.url:
        parts = urlsplit(target.url)
        return parts.hostname or "", parts.port or 4840
    return target.host, target.port


def running_agents(proc: Path = PROC) -> Iterator[tuple[int, Path]]:
    """Process and site file of each `edge run --site FILE` on this machine."""
    for folder in proc.glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue  # gone meanwhile
        if "run" not in words or not any(
            "edge" in word.rsplit("/", 1)[-1] for word in words[: words.index("run")]
        ):
            continue
        for i, word in enumerate(words):
            name = word.removeprefix("--site=") if word.startswith("--site=") else ""
            if word == "--site" and i + 1 < len(words):
                name = words[i + 1]
            if name:
                start = Path("/")
                with contextlib.suppress(OSError):
                    start = Path(os.readlink(folder / "cwd"))
                yield int(folder.name), start / name


def connections(proc: Path = PROC) -> set[tuple[str, int]]:
    """Far ends of this machine's established TCP connections."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, _, remote, state = line.split()[:4]
            if state == ESTABLISHED:
                raw, _, port = remote.partition(":")
                found.add((_address(raw), int(port, 16)))
    return found


def _address(raw: str) -> str:
    """The kernel prints each 32-bit word in the machine's own order."""
    data = b"".join(struct.pack("=I", int(raw[i : i + 8], 16)) for i in range(0, len(raw), 8))
    address = ipaddress.ip_address(data)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()  # connecting will say so


def _same(device: object, host: str, port: int) -> bool:
    if not isinstance(device, dict):
        return False
    if device.get("url"):
        parts = urlsplit(str(device["url"]))
        theirs, their_port = parts.hostname or "", parts.port or 4840
    else:
        theirs, their_port = str(device.get("host", "")), int(device.get("port", 502))
    return their_port == port and (theirs == host or bool(_addresses(theirs) & _addresses(host)))
