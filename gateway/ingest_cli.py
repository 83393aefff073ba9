"""`bollard ingest`: the shore side's service on the command line."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gateway.config import HttpSettings, load_shore
from gateway.errors import GatewayError
from gateway.ingest import run_ingest
from gateway.log import log_to_stderr
from gateway.signals import until_signalled


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
        code = asyncio.run(until_signalled(run_ingest(settings, _ready)))
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


def _ready(port: int, http: int | None) -> None:
    said = {"port": port} | ({} if http is None else {"http": http})
    print("ready", json.dumps(said), flush=True)


if __name__ == "__main__":
    typer.run(ingest)
