"""The running agent's own socket: tools on the gateway look through it instead of opening a second connection.

One line of JSON a request, one or more lines an answer. It can only read: a request names a table, an address and
a count, and the agent makes the Modbus request of them.

    {"devices": true}     who is there, and the last row of each scan class
    {"status": true}      until when each device is confirmed ashore, and what became of all rows
    {"watch": true}       rows, as they are taken, until the client hangs up
    {"read": {"device": "meter-1", "table": "holding", "address": 0, "count": 10}}    "endpoint" for "device" too
    {"plate": {"device": "meter-1", "object": 0}}     function 43/14

Nobody who reads slowly slows polling: what a client does not take is kept up to `MOST_UNREAD`, then it is cut off.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from drivers.bus import Bus
from drivers.errors import DriverError
from drivers.modbus import FUNCTIONS
from drivers.modbus_pdu import read_pdu
from drivers.probe_url import parse_url
from drivers.readonly import ENCAPSULATED, READ_IDENTIFICATION
from drivers.row import Row
from edge.config import LoadedSite
from edge.modbus_settings import modbus_address

if TYPE_CHECKING:
    from edge.poll import Poller

log = logging.getLogger(__name__)
MOST_CLIENTS = 8
MOST_UNREAD = 1 << 20  # bytes that a client has not taken
LONGEST_LINE = 1 << 12  # of a request
LONGEST_PATH = 107  # of a unix socket's address; man 7 unix
SERVICE_FOLDER = Path("/run/bollard")
PACE_S = 0.05  # silence of tools between two requests, so that polling comes first


def socket_path(spool: Path) -> Path:
    """Where the agent of a spool listens."""
    return spool.with_name(spool.name + ".sock")


class LocalSocket:
    """Listens for tools while its `async with` block runs. Where it cannot, the gateway polls on without."""

    def __init__(
        self, loaded: LoadedSite, pollers: Mapping[str, "Poller"],
        status: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> None:  # fmt: skip
        self._status = status
        self.path = socket_path(loaded.spool_path).absolute()
        self._loaded, self._pollers = loaded, pollers
        self._folder = loaded.path.parent
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._watchers: set[asyncio.StreamWriter] = set()
        self._last: dict[tuple[str, str], tuple[float, Row]] = {}  # device and scan class: when, and what
        self._turn = asyncio.Lock()  # one request of all tools at a time

    async def __aenter__(self) -> Self:
        try:
            listener = _listen(self.path)
            self._server = await asyncio.start_unix_server(self._take, sock=listener, limit=LONGEST_LINE)
        except OSError as error:
            log.warning("event=no_local_socket path=%s error=%r", self.path, str(error))
            return self
        self._announce()
        log.info("event=local_socket path=%s", self.path)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(OSError):
            self.path.unlink()
        _withdraw(self.path)

    def _announce(self) -> None:
        _announce(self.path, sorted({bus for name in self._pollers if (bus := self._bus_of(name))}))

    def adopt(self, loaded: LoadedSite, pollers: Mapping[str, "Poller"]) -> None:
        """Who watches goes on watching, with the devices of another site file."""
        staying = {name for name, poller in pollers.items() if poller is self._pollers.get(name)}
        self._loaded, self._pollers = loaded, pollers
        self._last = {key: last for key, last in self._last.items() if key[0] in staying}  # others read otherwise
        if self._server is not None:
            self._announce()

    def publish(self, device: str, row: Row) -> None:
        """Show a row to whoever watches. Never waits."""
        self._last[device, row.scan] = time.monotonic(), row
        if not self._watchers:
            return
        line = _line({"row": self._row(device, row)})
        for writer in list(self._watchers):
            self._send(writer, line)

    def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        if writer.transport.get_write_buffer_size() + len(line) > MOST_UNREAD:
            log.warning("event=slow_watcher_cut_off unread_bytes=%d", writer.transport.get_write_buffer_size())
            self._watchers.discard(writer)
            writer.transport.abort()
        else:
            writer.write(line)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > MOST_CLIENTS:
                self._send(writer, _error("too_many", f"{MOST_CLIENTS} tools are connected; end one of them"))
            else:
                await self._serve(reader, writer)
            async with asyncio.timeout(1.0):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the tool has gone, or we go
        except ValueError:
            self._send(writer, _error("wrong", f"a request is longer than {LONGEST_LINE} bytes"))
        finally:
            self._clients.discard(task)
            self._watchers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                request = json.loads(line)
                if not isinstance(request, dict) or len(request) != 1:
                    raise ValueError("give one of devices, status, watch, read, plate")
                ((name, value),) = request.items()
                if name == "watch":
                    self._watchers.add(writer)
                    answer: dict[str, Any] = {"watch": True}
                elif name == "devices":
                    answer = {"devices": [self._device(device) for device in self._pollers]}
                elif name == "status" and self._status is not None:
                    answer = {"status": await self._status()}
                elif name in ("read", "plate"):
                    answer = {name: (await self._read(_pdu(name, value), value)).hex()}
                else:
                    raise ValueError(f"{name!r} is not one of devices, status, watch, read, plate")
                self._send(writer, _line(answer))
            except DriverError as error:
                self._send(writer, _error(type(error).__name__, str(error), error.fault))
            except (ValueError, KeyError, TypeError) as error:
                self._send(writer, _error("wrong", f"{line[:80]!r}: {error}"))

    async def _read(self, pdu: bytes, wanted: Mapping[str, Any]) -> bytes:
        """The PDU that answers, over the connection that polling uses. Raises: DriverError, ValueError."""
        bus, unit_id, timeout_s = self._whose(wanted)
        async with self._turn:
            await bus.attach(timeout_s)
            try:
                return await bus.ask(unit_id, pdu, timeout_s)
            finally:
                bus.detach()
                await asyncio.sleep(PACE_S)

    def _whose(self, wanted: Mapping[str, Any]) -> tuple[Bus, int, float]:
        """The bus, the unit, and how long to wait there."""
        modbus = [d for d in self._loaded.site.device if self._loaded.profiles[d.name].protocol == "modbus"]
        if "device" in wanted:
            device = next((d for d in modbus if d.name == wanted["device"]), None)
            if device is None:
                raise ValueError(f"{wanted['device']!r} is no Modbus device of this site")
            unit_id = device.unit_id
        else:
            asked = parse_url(str(wanted["endpoint"]))
            keys = [modbus_address(d, self._folder).bus_key for d in modbus]
            if asked.bus_key not in keys:
                raise ValueError(f"{asked.bus_endpoint} is not among the connections of this site")
            device, unit_id = modbus[keys.index(asked.bus_key)], asked.unit_id
        bus = self._pollers[device.name].bus
        assert bus is not None  # every Modbus device has one
        return bus, unit_id, device.timeout_s

    def _device(self, name: str) -> dict[str, Any]:
        device = next(d for d in self._loaded.site.device if d.name == name)
        profile, poller = self._loaded.profiles[name], self._pollers[name]
        now_s = time.monotonic()
        return {
            "name": name, "profile": device.profile, "model": profile.model, "kind": profile.kind,
            "profile_hash": profile.hash, "endpoint": self._loaded.endpoint(device),
            "bus": self._bus_of(name) or None,
            "connected": poller.counts.connected, "tried": poller.tried, "points": len(profile.points),
            "rows": [self._row(name, row) | {"age_s": now_s - at_s} for at_s, row in self._rows_of(name)],
        }  # fmt: skip

    def _bus_of(self, name: str) -> str:
        device = next(d for d in self._loaded.site.device if d.name == name)
        is_modbus = self._loaded.profiles[name].protocol == "modbus"
        return modbus_address(device, self._folder).bus_key if is_modbus else ""

    def _rows_of(self, name: str) -> list[tuple[float, Row]]:
        return [last for (device, _), last in self._last.items() if device == name]

    def _row(self, device: str, row: Row) -> dict[str, Any]:
        link = self._pollers[device].link
        words = getattr(link, "words", None)
        raw = {i: found.hex() for i in range(len(row.values)) if words and (found := words(i)) is not None}
        return {
            "device": device, "scan": row.scan, "t_ns": row.t_ns, "quality": row.quality.tolist(),
            "values": [None if math.isnan(value) else value for value in row.values.tolist()],
            "text": row.text, "words": raw,
        }  # fmt: skip


def _pdu(name: str, wanted: Any) -> bytes:
    """The Modbus request: made here, of numbers, so that it can be no other. Raises: ValueError, KeyError."""
    if not isinstance(wanted, dict):
        raise ValueError("give a table of device or endpoint, table, address, count")
    if name == "plate":
        return bytes((ENCAPSULATED, READ_IDENTIFICATION, 1, _number(wanted, "object", 0, 255)))
    table = wanted["table"]
    if table not in FUNCTIONS:
        raise ValueError(f"table = {table!r} is not one of {', '.join(FUNCTIONS)}")
    count = _number(wanted, "count", 1, 2000 if table in ("coil", "discrete") else 125)
    return read_pdu(FUNCTIONS[table], _number(wanted, "address", 0, 65_536 - count), count)


def _number(wanted: dict[str, Any], name: str, low: int, high: int) -> int:
    value = wanted[name]
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} = {value!r} is not a whole number from {low} to {high}")
    return value


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def _error(kind: str, message: str, fault: str = "") -> bytes:
    return _line({"error": {"kind": kind, "fault": fault, "message": message}})


def _listen(path: Path) -> socket.socket:
    """A socket for our user alone from its first instant; a file that a killed agent has left is replaced.

    The spool's lock is ours already, so nobody listens on it. Raises: OSError.
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OSError(f"longer than {LONGEST_PATH} bytes; give spool.path a shorter folder")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        os.fchmod(listener.fileno(), 0o600)  # what bind makes has these rights
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    return listener


def _folders() -> list[Path]:
    """Where running agents are named, the best first."""
    user = os.environ.get("XDG_RUNTIME_DIR")
    shared = [SERVICE_FOLDER] + ([Path(user) / "bollard"] if user else [])
    return [*shared, Path(tempfile.gettempdir()) / f"bollard-edge-{os.getuid()}"]


def _is_ours(folder: Path) -> bool:
    """In /tmp anybody may have been first, and a link in there leads wherever its owner wants. Raises: OSError.

    In /run only root makes folders: that of the service is believed by root's tools, too.
    """
    return folder == SERVICE_FOLDER or folder.lstat().st_uid in (0, os.getuid())


def _announce(path: Path, buses: list[str]) -> None:
    """Let tools find us without the site file. Where that cannot be written, they have to be told of it."""
    for folder in _folders():
        with contextlib.suppress(OSError):
            if folder != SERVICE_FOLDER:  # made by the service's unit, or not at all
                folder.mkdir(mode=0o700, exist_ok=True)
            if not _is_ours(folder):
                continue
            (folder / _entry(path)).write_text(json.dumps({"socket": str(path), "buses": buses}))
            return


def _entry(path: Path) -> str:
    return f"{str(path).replace('/', '%')[-200:]}.json"


def _withdraw(path: Path) -> None:
    for folder in _folders():
        with contextlib.suppress(OSError):
            (folder / _entry(path)).unlink()


def announced() -> Iterator[tuple[Path, list[str]]]:
    """Sockets of agents that have said where they listen, and what they poll. A killed one is still among them."""
    for folder in _folders():
        try:
            if not _is_ours(folder):
                continue
            entries = sorted(folder.glob("*.json"))
        except OSError:
            continue
        for entry in entries:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                told = json.loads(entry.read_text())
                yield Path(told["socket"]), [str(bus) for bus in told["buses"]]
