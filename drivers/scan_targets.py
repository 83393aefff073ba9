"""What `bollard edge scan` is told to look at: named hosts and ranges of them, never a network by itself."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from drivers.address import host_problem
from drivers.serial_port import check_serial

MOST_HOSTS = 64
MOST_PORTS = 8
HOSTS_EXAMPLE = "as in 10.20.0.7, 10.20.0.7-12, plc-berth-6 or 10.20.0.7:4001"
_RANGE = re.compile(r"(\d+\.\d+\.\d+\.)(\d+)-(\d+)")


def parse_targets(texts: Sequence[str], ports: Sequence[int]) -> tuple[list[tuple[str, int]], list[str]]:
    """TCP ports of hosts, and serial lines, each once and in the order given.

    Args:
        texts: Hosts, lists and ranges of them, with a port or without; opc.tcp://HOST:PORT; paths and usb: names.
        ports: For hosts that are given without one.

    Raises: ValueError, with what to write instead; for more than MOST_HOSTS hosts, too.
    """
    sockets: dict[tuple[str, int], None] = {}
    lines: dict[str, None] = {}
    for text in (part.strip() for given in texts for part in given.split(",")):
        if text.startswith(("/", "usb:")):
            if problem := check_serial(text):
                raise ValueError(f"{text}: {problem}")
            lines[text] = None
            continue
        names, port = _host_and_port(text)
        sockets |= dict.fromkeys((host, p) for host in _hosts(names) for p in ([port] if port else ports))
    if (count := len({host for host, _ in sockets})) > MOST_HOSTS:
        raise ValueError(f"{count} hosts are more than {MOST_HOSTS} in one scan; name those that may be devices")
    if len(ports) > MOST_PORTS:
        raise ValueError(f"{len(ports)} ports are more than {MOST_PORTS} in one scan; name those that may be open")
    return list(sockets), list(lines)


def _host_and_port(text: str) -> tuple[str, int]:
    """A host or a range, and its port; 0 where none is given."""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:  # [::1, or a port beyond 65535
        raise ValueError(f"{text}: {error}; {HOSTS_EXAMPLE}") from error
    if parts.scheme not in ("", "opc.tcp") or not host:
        raise ValueError(f"{text}: is no host; {HOSTS_EXAMPLE}")
    if parts.path.strip("/") and not parts.scheme:  # 10.20.0.0/24
        raise ValueError(f"{text}: a network is not scanned; name the hosts, {HOSTS_EXAMPLE}")
    return host, port or (4840 if parts.scheme else 0)


def _hosts(text: str) -> list[str]:
    """`10.20.0.7-12` as six addresses; any other text as it is. Raises: ValueError."""
    if found := _RANGE.fullmatch(text):
        net, first, last = found[1], int(found[2]), int(found[3])
        if first > last:
            raise ValueError(f"{text}: {first} is after {last}; {HOSTS_EXAMPLE}")
        if last - first >= MOST_HOSTS:  # before a list of them is made
            raise ValueError(f"{text}: is more than {MOST_HOSTS} hosts; name those that may be devices")
        names = [f"{net}{n}" for n in range(first, last + 1)]
    else:
        names = [text]
    for name in names:
        if problem := host_problem(name):
            raise ValueError(f"{text}: {name!r}: {problem}")
    return names


def parse_numbers(text: str, low: int, high: int, option: str) -> list[int]:
    """`1-10,247` as numbers, each once and in the order given. Raises: ValueError."""
    numbers: dict[int, None] = {}
    for part in text.split(","):
        ends = [end.strip() for end in part.split("-")]
        if len(ends) > 2 or not all(end.isascii() and end.isdigit() and len(end) < 9 for end in ends):
            raise ValueError(f"{option} {text}: {part!r} is no number; give it as in {low}-{min(high, low + 9)}")
        start, end = int(ends[0]), int(ends[-1])
        if not low <= start <= end <= high:
            raise ValueError(f"{option} {text}: {part} is not within {low} to {high}")
        numbers |= dict.fromkeys(range(start, end + 1))
    return list(numbers)
