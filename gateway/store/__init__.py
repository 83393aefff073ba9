"""Where rows are kept: SQLite in one file, or InfluxDB 2."""

from pathlib import Path

from gateway.errors import StoreError, StoreUnavailable
from gateway.store.base import UNKNOWN, Columns, Series, Store, Types

__all__ = ["UNKNOWN", "Columns", "Series", "Store", "StoreError", "StoreUnavailable", "Types", "open_store"]


def open_store(url: str, *, token: str = "", create: bool = True) -> Store:
    """Open the store that a URL names.

    Args:
        url: `sqlite:PATH`, or `influx:http://HOST:8086?org=ORG&bucket=NAME`; NAME is the prefix of the
            three buckets NAME-raw, NAME-minutes and NAME-events.
        token: Of InfluxDB; from the environment variable BOLLARD_INFLUX_TOKEN where empty.
        create: Make file or buckets where they are missing; else a missing one is an error.

    Raises: StoreError, StoreUnavailable.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite" and rest:
        from gateway.store.sqlite import SqliteStore

        return SqliteStore(Path(rest), create)
    if scheme == "influx" and rest:
        from gateway.store.influx import InfluxStore  # loads its client only where it is used

        return InfluxStore.open(rest, token, create)
    raise StoreError(f"store {url!r}: give sqlite:PATH or influx:http://HOST:8086?org=ORG&bucket=NAME")
