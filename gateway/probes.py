"""How ingest is, for Prometheus, for a service manager and for a load balancer: plain HTTP, loopback by default.

`/metrics` counters in Prometheus' text format; `/healthz` 200 as long as the process works at all; `/readyz` 200
while batches are taken and stored, else 503 with the reason. Nothing else, and nothing can be changed from here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from gateway.config import HttpSettings
from gateway.errors import GatewayError

REQUEST_S = 5.0  # for a request to arrive
REQUEST_BYTES = 8192
AT_ONCE = 32  # connections; further ones are closed
STATUS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Answers:
    """What is said now. `ready` and `alive` give the reason why not, or an empty text."""

    alive: Callable[[], str]
    ready: Callable[[], str]
    metrics: Callable[[], str]


def exposition(
    metrics: Mapping[str, tuple[str, str, float | Mapping[str, float]]],
) -> str:
    """Prometheus' text format: name -> (type, help, value); a mapping is a value per label `name`."""
    lines = []
    for name, (kind, text, value) in metrics.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        if isinstance(value, Mapping):
            lines += [f'{name}{{name="{_escaped(label)}"}} {number:g}' for label, number in value.items()]
        else:
            lines.append(f"{name} {value if isinstance(value, int) else repr(value)}")
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def serving(settings: HttpSettings, answers: Answers) -> AsyncIterator[int]:
    """Answer for as long as the block lasts; yields the port. Raises: GatewayError if it is taken."""
    open_now = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            if open_now <= AT_ONCE:
                await _answer(reader, writer, answers)
        finally:
            open_now -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    try:
        server = await asyncio.start_server(handle, settings.host, settings.port, limit=REQUEST_BYTES)
    except OSError as error:
        where = f"http port {settings.host}:{settings.port}"
        raise GatewayError(f"{where}: {error.strerror or error}; set another [http] host or port") from error
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Answers) -> None:
    try:
        async with asyncio.timeout(REQUEST_S):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2]
            writer.write(_reply(*_page(method, path.partition("?")[0], answers), body=method != "HEAD"))
            await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError):
        return  # not HTTP, or nobody waits for the answer


def _page(method: str, path: str, answers: Answers) -> tuple[int, str]:
    if method not in ("GET", "HEAD"):
        return 405, "only GET\n"
    if path == "/metrics":
        return 200, answers.metrics()
    if path in ("/healthz", "/readyz"):
        why = answers.alive() if path == "/healthz" else answers.ready()
        return (503, why + "\n") if why else (200, "ok\n")
    return 404, "there is /metrics, /healthz and /readyz\n"


def _reply(code: int, text: str, body: bool) -> bytes:
    content = text.encode()
    head = (
        f"HTTP/1.1 {code} {STATUS[code]}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(content)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (content if body else b"")


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
