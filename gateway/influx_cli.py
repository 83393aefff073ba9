"""`bollard influx …`: a new InfluxDB made ready for a port."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.config import load_shore
from gateway.errors import ConfigError, GatewayError
from gateway.influx_setup import setup as set_up

app = typer.Typer(
    help="InfluxDB: buckets, retention and tokens with least rights.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
ADMIN_VARIABLE = "BOLLARD_INFLUX_ADMIN_TOKEN"


@app.callback()
def _group() -> None:
    """So that `setup` keeps its name although it is alone."""


@app.command()
def setup(
    shore: Annotated[Path, typer.Option(help="the shore file", show_default=False)],
    tokens: Annotated[Path | None, typer.Option(help="folder for the tokens; beside the shore file")] = None,
    shorten: Annotated[
        bool, typer.Option("--shorten", help="allow a shorter retention: older raw rows are lost")
    ] = False,
) -> None:
    r"""Create buckets and tokens; a second run changes nothing.

    \[store] raw_days is the retention of the raw bucket. Needs a token that may manage the organisation, in the
    environment variable BOLLARD_INFLUX_ADMIN_TOKEN; it is used here and kept nowhere.
    """
    try:
        settings = load_shore(shore, secrets=False)
        influx = settings.store.influx
        if influx is None:
            raise ConfigError(f"{shore}: store.influx: is not there; give a table with url, org and bucket")
        token = os.environ.get(ADMIN_VARIABLE, "")
        if not token:
            raise ConfigError(f"{ADMIN_VARIABLE} is not set; give it a token that may manage the organisation")
        for line in set_up(influx, token, tokens or shore.parent, settings.store.raw_days, shorten):
            print(line)
    except GatewayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    print(
        f"now set store.influx.token_file: {influx.bucket}-ingest.token for ingest,"
        f" {influx.bucket}-report.token for reports",
        file=sys.stderr,
    )  # fmt: skip


if __name__ == "__main__":
    app()
