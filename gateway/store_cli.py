"""`bollard store …`: care of the store."""

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from gateway.config import load_shore
from gateway.errors import ConfigError, GatewayError

app = typer.Typer(help="The store: remove old raw rows.", no_args_is_help=True, pretty_exceptions_enable=False)
DAY_NS = 86_400_000_000_000


@app.callback()
def _group() -> None:
    """So that `prune` keeps its name although it is alone."""


@app.command()
def prune(
    shore: Annotated[Path, typer.Option(help="the shore file", show_default=False)],
    days: Annotated[int | None, typer.Option(min=1, help="keep so many; \\[store] raw_days if left out")] = None,
) -> None:
    r"""Remove raw rows older than so many days. Minutes, calls, lockages and events never go.

    Ingest does the same each hour where \[store] raw_days is set. Freed space is used again, the file does not
    shrink. In InfluxDB the bucket's retention does it: `bollard influx setup`.
    """
    try:
        settings = load_shore(shore)
        keep = days if days is not None else settings.store.raw_days
        if keep is None:
            raise ConfigError(f"{shore}: store.raw_days: is not set; set it, or give --days")
        if settings.store.influx is not None:
            raise ConfigError(
                f"{shore}: InfluxDB removes by itself; set the retention with `bollard influx setup`"
            )
        with closing(settings.store.open(create=False)) as store:
            removed = store.prune(time.time_ns() - keep * DAY_NS)
    except GatewayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    print(f"{removed} rows older than {keep} days removed")


if __name__ == "__main__":
    app()
