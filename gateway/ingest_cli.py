"""`bollard ingest`: the shore side's service on the command line."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gateway.config import HttpSettings, ShoreSettings, load_shore
from gateway.errors import GatewayError
from gateway.ingest import run_ingest
from gateway.log import log_to_stderr


def ingest(
    shore: Annotated[Path, typer.Option(help="the shore file")],
    http_port: Annotated[
        int | None, typer.Option(help="port of the probes, instead of the file's: for a second worker")
    ] = None,
) -> None:
    """Take batches from the broker, store them, confirm them. Prints `ready {"port": N}` once it does."""
    log_to_stderr()
    try:
        settings = load_shore(shore)
        if http_port is not None:
            host = settings.http.host if settings.http else "127.0.0.1"
            settings = settings.model_copy(update={"http": HttpSettings(host=host, port=http_port)})
        code = asyncio.run(_until_signalled(settings))
    except* GatewayError as group:
        problems = list(_flat(group))
        for problem in problems:
            print(problem, file=sys.stderr)
        code = max(problem.exit_code for problem in problems)
    raise typer.Exit(code)


def _flat(group: BaseExceptionGroup[GatewayError]) -> Iterator[GatewayError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


async def _until_signalled(settings: ShoreSettings) -> int:
    """Run until SIGTERM (0) or SIGINT (130)."""
    code = 0

    def ready(port: int, http: int | None) -> None:
        said = {"port": port} | ({} if http is None else {"http": http})
        print("ready", json.dumps(said), flush=True)

    task = asyncio.create_task(run_ingest(settings, ready))

    def stop(exit_code: int) -> None:
        nonlocal code
        code = exit_code
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop, 0)
    loop.add_signal_handler(signal.SIGINT, stop, 130)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return code


if __name__ == "__main__":
    typer.run(ingest)
