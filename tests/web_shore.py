"""A page over a small store, for requests without a browser."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from shore import T, catalogue, minute, row
from starlette.testclient import TestClient

from gateway.book import Book
from gateway.store import open_store
from gateway.web.app import Page
from gateway.web.clock import WebClock
from gateway.web.hub import Hub
from gateway.web.people import People
from gateway.web.settings import WebSettings

PASSWORD = "a long enough one"
NS = 1_000_000_000
CODE = "lock_gates_opposite_open"


class Shore:
    """A page over a store with a few rows, and its users."""

    def __init__(self, folder: Path, hub: Hub, people: People) -> None:
        self.folder, self.hub, self.people = folder, hub, people
        self.client = TestClient(Page(hub, people, WebSettings()).app(), follow_redirects=False)  # type: ignore[arg-type]

    def get(self, path: str, user: str | None = "anne", **query: Any) -> Any:
        return self.client.get(f"/api/1/{path}", params=query, headers=self.bearer(user))

    def post(self, path: str, said: Any, user: str | None = "anne", **headers: str) -> Any:
        return self.client.post(f"/api/1/{path}", json=said, headers=self.bearer(user) | headers)

    def bearer(self, user: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.people.token(user)}"} if user else {}

    def begin(self, t_ns: int = T, active: int = 1, device: str = "charger-1") -> None:
        tags = {"code": CODE, "point": "gates"}
        self.hub.live.take([row(t_ns, "event", device, tags, active=active, gate="up down")])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with store and book, made once: hashing passwords is slow on purpose."""
    folder = tmp_path_factory.mktemp("filled")
    with closing(open_store(f"sqlite:{folder / 'store.db'}")) as store, closing(Book(folder / "book.db")) as book:
        book.put_catalogue(catalogue())
        types = catalogue().field_types()
        store.write([row(T + i * NS, power_w=float(i % 60)) for i in range(600)], types)
        store.write([minute(n, 0, 100 + n) for n in range(5)], types)
        people = People(book)
        people.add("anne", PASSWORD, "supervisor")
        people.add("vera", PASSWORD, "viewer")
        people.add("douai", PASSWORD, "supervisor", ["douai"])
        people.add("chef", PASSWORD, "admin")
    return folder


@pytest.fixture
def shore(tmp_path: Path, filled: Path) -> Iterator[Shore]:
    folder = shutil.copytree(filled, tmp_path / "shore")
    with closing(open_store(f"sqlite:{folder / 'store.db'}")) as store, closing(Book(folder / "book.db")) as book:
        people = People(book)
        hub = Hub(store, book, (), WebClock())
        hub.reports, hub.people_audit, hub.people_audited = folder / "reports", people.audit, people.audited
        yield Shore(folder, hub, people)
