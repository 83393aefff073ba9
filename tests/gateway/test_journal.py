"""The journal: checked when written, never changed after, found out if it was."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.wire import Catalogue
from gateway.book import Book
from gateway.errors import StoreError
from gateway.journal import JournalError, NewEntry, encode, imo_number, in_force, parse
from gateway.journal_cli import app

SETTINGS = {
    "schema": 1,
    "site": {"name": "port", "gateway": "gw", "timezone": "Europe/Paris"},
    "device": [{"name": "meter-1", "meter": {}}, {"name": "lock-1", "lock": {}}],
    "berth": [{"name": "quai-1", "meter": "meter-1"}],
}
CALL = {"imo": "9074729", "berth": "quai-1", "arrival": "2026-10-14T08:02", "departure": "2026-10-14T08:49"}


@pytest.fixture
def shore(tmp_path: Path) -> Path:
    path = tmp_path / "shore.toml"
    path.write_text('schema = 1\n[store]\nurl = "sqlite:store.db"\n')
    book = Book(tmp_path / "book.db")
    book.put_catalogue(Catalogue("port", "gw", "abc", SETTINGS, ()))
    book.close()
    return path


@pytest.fixture
def book(tmp_path: Path, shore: Path) -> Iterator[Book]:
    found = Book(tmp_path / "book.db")
    yield found
    found.close()


def run(*words: str, shore: Path) -> Any:
    said = ["--site", "port", "--shore", str(shore), "--author", "A. Martin", "--reason", "harbour log"]
    return CliRunner().invoke(app, [*words, *(said if words[0] != "list" else said[:4])])


def test_the_last_digit_of_an_imo_number_checks_the_others() -> None:
    assert imo_number("IMO 9074729") == "9074729"  # 9x7 + 0x6 + 7x5 + 4x4 + 7x3 + 2x2 = 139
    for text, problem in (
        ("9074728", "after 907472 comes 9, not 8"),
        ("907472", "seven digits"),
        ("90747x9", "seven"),
    ):
        with pytest.raises(ValueError, match=problem):
            imo_number(text)


def test_times_are_the_sites_and_the_repeated_hour_asks_back() -> None:
    body = parse("call", CALL, "Europe/Paris", "x")
    assert '"arrival":"2026-10-14T06:02:00Z"' in encode(body)
    twice = CALL | {"arrival": "2026-10-25T02:30", "departure": "2026-10-25T06:00"}
    with pytest.raises(JournalError, match=r"arrival = '2026-10-25T02:30': the clocks change in this hour"):
        parse("call", twice, "Europe/Paris", "x")
    parse("call", twice | {"arrival": "2026-10-25T02:30+02:00"}, "Europe/Paris", "x")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"imo": "9074720"}, "imo = '9074720': its check digit does not fit"),
        ({"departure": "2026-10-14T08:00"}, "departure is not after arrival"),
        ({"arrival": ""}, "arrival is missing; give all fast"),
        ({"birth": "quai-1"}, "birth: no such key; use imo, berth, arrival"),
        ({"arrival": "yesterday"}, "arrival = 'yesterday': "),
        ({"use": "hotel"}, "use = 'hotel': Input should be"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, str], told: str) -> None:
    with pytest.raises(JournalError, match=r"^line 7: ") as found:
        parse("call", CALL | change, "Europe/Paris", "line 7")
    assert told in str(found.value)


def test_a_correction_is_a_new_entry(book: Book) -> None:
    text = encode(parse("call", CALL, "Europe/Paris", "x"))
    later = encode(parse("call", CALL | {"departure": "2026-10-14T09:00"}, "Europe/Paris", "x"))
    book.write_journal([NewEntry("port", "call", text, "A. Martin", "harbour log")], 5)
    book.write_journal([NewEntry("port", "call", later, "B. Duval", "misread", 1)], 6)
    entries = book.journal("port")
    assert [(e.number, e.author, e.written_ns, e.replaces) for e in entries] == [
        (1, "A. Martin", 5, None),
        (2, "B. Duval", 6, 1),
    ]
    assert [e.number for e in in_force(entries)] == [2]
    with pytest.raises(StoreError, match="journal entry 1 is replaced by 2 already; replace that one"):
        book.write_journal([NewEntry("port", "call", text, "A", "again", 1)], 7)
    with pytest.raises(StoreError, match="'elsewhere' has no journal entry 1"):
        book.write_journal([NewEntry("elsewhere", "call", text, "A", "again", 1)], 7)
    assert len(book.journal()) == 2


def test_a_changed_entry_is_found(book: Book, tmp_path: Path) -> None:
    text = encode(parse("call", CALL, "Europe/Paris", "x"))
    book.write_journal([NewEntry("port", "call", text, "A. Martin", "harbour log") for _ in range(2)], 5)
    with sqlite3.connect(tmp_path / "book.db") as db:
        db.execute("UPDATE journal SET reason = 'other' WHERE number = 1")
    db.close()
    with pytest.raises(StoreError, match="journal entry 1 is not as it was written"):
        book.journal()


def test_add_list_withdraw(shore: Path) -> None:
    words = [f"{key}={value}" for key, value in CALL.items()]
    assert run("add", "call", *words, shore=shore).stdout == "1\n"
    again = run("add", "call", *words, shore=shore)
    assert (again.exit_code, again.stdout) == (0, "")
    assert run("withdraw", "1", shore=shore).stdout == "2\n"
    assert run("list", shore=shore).stdout == ""
    shown = run("list", "--all", shore=shore).stdout
    assert "A. Martin: call imo=9074729 berth=quai-1" in shown
    assert "withdrawn  replaces 1 (harbour log) [no longer in force]" in shown


def test_a_file_is_taken_whole_or_not_at_all(shore: Path, tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    good = "9074729;quai-1;2026-10-14T08:02;2026-10-14T08:49"
    file.write_text(f"imo;berth;arrival;departure\n{good}\n9074729;quai-9;2026-10-15T08:02;2026-10-15T08:49\n")
    refused = run("import", "call", str(file), shore=shore)
    assert refused.exit_code == 2
    assert "line 3: berth 'quai-9' is not in the site's file; use one of quai-1" in refused.output
    assert run("list", shore=shore).stdout == ""
    file.write_text(f"imo;berth;arrival;departure\n{good}\n")
    assert run("import", "call", str(file), shore=shore).stdout == "1\n"


def test_bad_commands_are_one_sentence(shore: Path, tmp_path: Path) -> None:
    for words, told in (
        (("add", "kall", "a=b"), "kind 'kall' is not one of call, lock_hours, lock_stoppage, meter_replacement"),
        (("add", "call", "berth"), "'berth' is not KEY=VALUE"),
        (("import", "call", str(tmp_path / "none.csv")), "cannot be read"),
    ):
        found = run(*words, shore=shore)
        assert (found.exit_code, told in found.output) == (2, True), found.output
