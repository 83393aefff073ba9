"""Stores to write to, of both kinds."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import influxd
from servers.influx import TOKEN, InfluxServer

from gateway.store import Store, open_store


def _server(folder: Path) -> InfluxServer:
    binary = influxd()
    assert binary is not None, "use the marker influx"
    return InfluxServer(binary, folder)


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """One for all tests: give each its own bucket."""
    with _server(tmp_path_factory.mktemp("influx")) as server:
        yield server


@pytest.fixture
def own_influx_server(tmp_path: Path) -> Iterator[InfluxServer]:
    """For a test that leaves it in pieces."""
    with _server(tmp_path) as server:
        yield server


@dataclass
class Backend:
    """A kind of store, and what can be done to it from outside."""

    open: Callable[[], Store]
    restart: Callable[[], None]


@pytest.fixture(params=["sqlite", pytest.param("influx", marks=pytest.mark.influx)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return Backend(lambda: open_store(f"sqlite:{tmp_path / 'store.db'}"), lambda: None)
    server: InfluxServer = request.getfixturevalue("influx_server")
    bucket = f"t-{uuid.uuid4().hex[:12]}"

    def restart() -> None:
        server.kill()
        server.start()

    return Backend(lambda: open_store(server.access.store_url(bucket), token=TOKEN), restart)


@pytest.fixture
def store(backend: Backend) -> Iterator[Store]:
    opened = backend.open()
    yield opened
    opened.close()
