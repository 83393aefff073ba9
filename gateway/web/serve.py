"""`bollard serve`: the supervisors' page and its API, from a shore file."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from gateway.book import Book
from gateway.config import ShoreSettings, load_shore
from gateway.errors import ConfigError, GatewayError
from gateway.log import log_to_stderr
from gateway.report.contracts import parse_contracts
from gateway.signals import until_signalled
from gateway.web.app import Page
from gateway.web.clock import WebClock
from gateway.web.hub import Hub
from gateway.web.notices import Notice
from gateway.web.people import People
from gateway.web.settings import WebSettings

log = logging.getLogger(__name__)


def serve(
    shore: Annotated[Path, typer.Option(help="the shore file")],
    port: Annotated[
        int | None, typer.Option(help="port to listen on, instead of the file's; 0: a free one")
    ] = None,
    sim_clock: Annotated[Path | None, typer.Option(help="share a simulator's time: its clock file")] = None,
) -> None:
    """Show locks and berths live in a browser. Prints `ready {"port": N}` once it listens.

    It reads store and broker and controls nothing. Users: `bollard user add`. SIGTERM ends it with 0.
    """
    log_to_stderr()
    try:
        settings = load_shore(shore)
        web = settings.web or WebSettings()
        if port is not None:
            web = web.model_copy(update={"port": port})
        code = asyncio.run(until_signalled(run_page(settings, web, WebClock(sim_clock), _ready)))
    except GatewayError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    raise typer.Exit(code)


def _ready(port: int) -> None:
    print("ready", json.dumps({"port": port}), flush=True)


async def run_page(
    settings: ShoreSettings, web: WebSettings, clock: WebClock, ready: Callable[[int], None] | None = None
) -> None:
    """Serve until cancelled.

    Raises: StoreError if store or book cannot be used, GatewayError if the port is taken.
    """
    async with AsyncExitStack() as stack:
        line = _listening(web)
        stack.callback(line.close)
        store = stack.enter_context(closing(settings.store.open()))
        book = stack.enter_context(closing(Book(settings.book.path)))
        people = People(book)
        hub = Hub(store, book, settings.sites, clock)
        hub.reports, hub.people_audit, hub.people_audited = web.reports, people.audit, people.audited
        hub.groups = settings.group
        if settings.report.contracts:
            hub.contracts = _contracts(settings.report.contracts)
        hub.notices = _notices(web)
        connection = hub.connect(settings.broker)
        stack.push_async_callback(connection.stop)
        server = _Server(
            uvicorn.Config(
                Page(hub, people, web).app(), log_config=None, access_log=False, lifespan="off",
                server_header=False, proxy_headers=False, timeout_keep_alive=30,
                ssl_certfile=web.tls_cert, ssl_keyfile=web.tls_key,
            )
        )  # fmt: skip
        if not people.users():
            log.warning("there is no user yet; `bollard user add NAME --role admin --shore …` makes the first")
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(hub.run(), name="hub"),
                group.create_task(connection.lasting(), name="broker"),
                group.create_task(_served(server, line, ready), name="http"),
                *(group.create_task(notice.run(), name="notices") for notice in hub.notices),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                hub.close()
                server.should_exit = True


def _contracts(file: Path) -> str:
    """Raises: GatewayError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: contracts cannot be read: {why}; check [report] contracts") from error
    parse_contracts(text, "")
    return text


def _notices(web: WebSettings) -> list[Notice]:
    """Raises: ConfigError for a password that is not there: the first alarm is no time to find out."""
    for i, notice in enumerate(web.notice):
        file = notice.mail.password_file if notice.mail else None
        if file is not None and not file.is_file():
            raise ConfigError(
                f"web.notice[{i}].mail.password_file = {str(file)!r}: is not there; make it, mode 0600"
            )
    return [Notice(notice) for notice in web.notice]


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals: ours ends the other tasks too."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _served(server: uvicorn.Server, line: socket.socket, ready: Callable[[int], None] | None) -> None:
    work = asyncio.ensure_future(server.serve([line]))
    try:
        while not server.started and not work.done():  # noqa: ASYNC110 - uvicorn offers nothing to wait for
            await asyncio.sleep(0.01)
        if ready is not None and not work.done():
            ready(int(line.getsockname()[1]))
        await asyncio.shield(work)
    except asyncio.CancelledError:
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work, 5.0)
        raise


def _listening(web: WebSettings) -> socket.socket:
    """Raises: GatewayError."""
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    line = socket.socket(family)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        line.bind((web.host, web.port))
    except OSError as error:
        line.close()
        raise GatewayError(
            f"web port {web.host}:{web.port}: {error.strerror or error}; set another [web] host or port"
        ) from error
    line.listen(128)
    line.setblocking(False)
    return line
