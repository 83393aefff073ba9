"""What tools see of a running agent: its socket, asked and listened to."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from drivers import errors
from drivers.address import ModbusAddress
from drivers.errors import DeviceUnreachable, DriverError
from drivers.modbus_pdu import TABLES, answer_bytes
from drivers.readonly import ENCAPSULATED
from edge.local import announced, socket_path

LONGEST_ANSWER = 1 << 24
DEADLINE_S = 75.0  # beyond the longest timeout_s of a site file
KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and kind is not DriverError}


class AgentGone(ConnectionError):
    """The agent has ended, has cut us off, or is another version."""


class AgentClient:
    """A connection to a running agent."""

    def __init__(self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()

    async def devices(self) -> list[dict[str, Any]]:
        """Its devices, each with its last rows."""
        return list((await self._ask({"devices": True}))["devices"])

    async def status(self) -> dict[str, Any]:
        """Until when each device is confirmed, and what became of all rows."""
        return dict((await self._ask({"status": True}))["status"])

    async def watch(self) -> AsyncIterator[dict[str, Any]]:
        """Rows, as they are taken. Nothing else can be asked on this connection from here on."""
        await self._ask({"watch": True})
        while True:
            yield (await self._answer(None))["row"]

    async def ask(self, endpoint: str, pdu: bytes) -> bytes:
        """A Modbus read over the agent's own connection. Raises: what a bus raises."""
        if pdu[0] == ENCAPSULATED:
            answer = await self._ask({"plate": {"endpoint": endpoint, "object": pdu[3]}})
            return bytes.fromhex(answer["plate"])
        address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        wanted = {"endpoint": endpoint, "table": TABLES[pdu[0]], "address": address, "count": count}
        found = bytes.fromhex((await self._ask({"read": wanted}))["read"])
        assert len(found) == answer_bytes(pdu)  # the agent has checked
        return found

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._turn:
            self._writer.write(json.dumps(request).encode() + b"\n")
            answer = await self._answer(DEADLINE_S)
        if (problem := answer.get("error")) is not None:
            if problem["kind"] not in KINDS:
                raise AgentGone(f"{self.path}: {problem['message']}")
            # BusDown wants more than a message, and to a tool it is silence like any other
            kind = DeviceUnreachable if problem["kind"] == "BusDown" else KINDS[problem["kind"]]
            error = kind(problem["message"])
            error.fault = problem["fault"]
            raise error
        return answer

    async def _answer(self, deadline_s: float | None) -> dict[str, Any]:
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._reader.readline()
            answer = json.loads(line) if line else None
        except (OSError, ValueError) as error:
            raise AgentGone(f"{self.path}: {error or 'no answer'}") from error
        if not isinstance(answer, dict):
            raise AgentGone(f"{self.path}: the agent has hung up")
        return answer


@asynccontextmanager
async def agent_at(path: Path) -> AsyncIterator[AgentClient | None]:
    """The agent that listens there; None where there is none. Raises: PermissionError, which names the path."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=LONGEST_ANSWER)
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, str(path)) from error
    except OSError:
        yield None
        return
    try:
        yield AgentClient(path, reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def owner_of(address: ModbusAddress, spool: Path | None) -> AsyncIterator[tuple[AgentClient, str] | None]:
    """The agent that polls a connection or line, and the URL by which it knows the unit; None where none does.

    Args:
        spool: Of the site file given; without it, all agents that are announced are asked.

    Raises: PermissionError, where that agent is another user's.
    """
    agents = list(announced()) if spool is None else [(socket_path(spool), [address.bus_key])]
    async with AsyncExitStack() as stack:
        for path, buses in agents:
            try:
                agent = await stack.enter_async_context(agent_at(path))
                devices = await agent.devices() if agent is not None else []
            except AgentGone:  # just ending
                continue
            except PermissionError:
                if any([await same_bus(bus, address.bus_key) for bus in buses]):
                    raise
                continue
            for device in devices:
                if agent is not None and device["bus"] and await same_bus(device["bus"], address.bus_key):
                    yield agent, f"{device['endpoint'].rpartition('/')[0]}/{address.unit_id}"
                    return
        yield None


async def same_bus(one: str, other: str) -> bool:
    """Whether two bus keys name the same line, or the same port of the same host."""
    if one == other:
        return True
    if not (one.startswith("tcp:") and other.startswith("tcp:")):
        return False
    (host, _, port), (other_host, _, other_port) = (key[4:].rpartition(":") for key in (one, other))
    if port != other_port:
        return False
    loop = asyncio.get_running_loop()
    try:
        found = [
            {info[4][0] for info in await loop.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)}
            for name in (host, other_host)
        ]
    except (OSError, ValueError):  # nobody knows the name, or it is none
        return False
    return bool(found[0] & found[1])
