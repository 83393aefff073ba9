"""The book: what it keeps, and what it says when it cannot."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from shore import GATEWAY, SITE, SPOOL, catalogue

from edge.wire import EVERY_ROW, Header
from gateway.book import MALFORMED_KEPT, VERSION, Book
from gateway.errors import StoreError, StoreUnavailable

HEADER = Header(SITE, GATEWAY, SPOOL, 5, "live", 3, "00000000")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    opened = Book(tmp_path / "book.db")
    yield opened
    opened.close()


def test_the_catalogue_said_last_is_the_newest(book: Book) -> None:
    old, new = catalogue(power_w="int", state="int"), catalogue(power_w="float")
    assert book.catalogue(SITE, GATEWAY) is None
    assert [book.put_catalogue(c) for c in (old, new, new)] == [True, True, False]
    assert book.catalogue(SITE, GATEWAY) == new
    assert book.put_catalogue(old) is False  # back to the earlier site file
    assert book.catalogue(SITE, GATEWAY) == old


def test_types_are_those_of_every_catalogue_the_newest_counting_most(book: Book) -> None:
    assert book.field_types(SITE, GATEWAY) is None
    book.put_catalogue(catalogue(power_w="int", state="int"))
    book.put_catalogue(catalogue(power_w="float", vessel="str"))
    assert book.field_types(SITE, GATEWAY) == {
        ("charger", "charger-1"): {"power_w": "float", "state": "int", "vessel": "str"} | EVERY_ROW
    }


def test_catalogues_are_listed_by_gateway(book: Book) -> None:
    for gateway in ("gw-b", "gw-a"):
        book.put_catalogue(catalogue(gateway))
    assert [c.gateway for c in book.catalogues(SITE)] == ["gw-a", "gw-b"]
    assert book.catalogues("elsewhere") == []
    assert len(book.catalogues()) == 2


def test_a_batch_refused_again_stands_once(book: Book) -> None:
    for _ in range(2):
        book.refuse([(HEADER, [(0, "a line", "a reason"), (2, "another", "its reason")])])
    assert [(r.line, r.text, r.reason) for r in book.refused(SITE, GATEWAY)] == [
        (0, "a line", "a reason"),
        (2, "another", "its reason"),
    ]
    assert book.refused("elsewhere") == []


def test_nonsense_is_kept_within_bounds(book: Book) -> None:
    first = [("t", str(i).encode(), "no header") for i in range(MALFORMED_KEPT + 20)]
    assert all(book.note_malformed(first[:500])) and all(book.note_malformed(first[500:]))
    assert book.note_malformed([("t", b"600", "no header")]) == [False]
    noted = book.malformed()
    assert len(noted) == MALFORMED_KEPT
    assert (noted[-1].payload, noted[-1].times) == (b"600", 2)


def test_counters_outlive_the_process(book: Book, tmp_path: Path) -> None:
    book.add({"stored": 5, "refused": 0})
    book.add({"stored": 2})
    again = Book(tmp_path / "book.db")
    assert again.counters() == {"stored": 7}
    again.close()


def test_a_newer_damaged_or_foreign_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    Book(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    says = f"has format {VERSION + 1}, this bollard knows up to {VERSION}; use the newer bollard"
    with pytest.raises(StoreError, match=says):
        Book(path)
    path.write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match=r"book .*book\.db is damaged"):
        Book(path)


def test_the_store_is_not_taken_for_the_book(tmp_path: Path) -> None:
    from gateway.store import open_store

    open_store(f"sqlite:{tmp_path / 'one.db'}").close()
    with pytest.raises(StoreError, match="SQLite file of another kind; give another path"):
        Book(tmp_path / "one.db")


def test_an_unwritable_folder_is_one_sentence(unwritable: Path) -> None:
    with pytest.raises(StoreError, match="writable"):
        Book(unwritable / "book.db")


def test_a_file_that_another_process_holds_is_unavailable(book: Book, tmp_path: Path) -> None:
    book._db.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(tmp_path / "book.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        book.add({"stored": 1})
    other.execute("ROLLBACK")
    other.close()
    book.add({"stored": 1})
    assert book.counters() == {"stored": 1}


def test_an_older_book_is_taken_along(book: Book, tmp_path: Path) -> None:
    book.put_catalogue(catalogue())
    book.close()
    with sqlite3.connect(tmp_path / "book.db") as db:  # as the first release made it
        db.execute("DROP TABLE pinned")
        db.execute("DROP TABLE filed")
        db.execute("DROP TABLE journal")
        db.execute("PRAGMA user_version = 1")
    db.close()
    for _ in range(2):
        again = Book(tmp_path / "book.db")
        assert len(again.catalogues()) == 1
        assert again.pin({"charger": {"power_w": "float"}}) == {"charger": {"power_w": "float"}}
        assert again.filed("demo-port", "2026-10") == []
        assert again.journal() == []
        again.close()


def test_a_type_is_pinned_once_for_all_workers(book: Book, tmp_path: Path) -> None:
    other = Book(tmp_path / "book.db")
    assert book.pin({"charger": {"power_w": "float"}}) == {"charger": {"power_w": "float"}}
    assert other.pin({"charger": {"power_w": "int", "state": "int"}}) == {
        "charger": {"power_w": "float", "state": "int"}
    }
    assert book.pin({}) == other.pin({})
    other.close()
