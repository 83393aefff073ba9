"""Refused rows: seen, tried again, given up; and old raw rows that go while minutes stay."""

import time
from contextlib import closing
from pathlib import Path

import pytest
from shore import FOREVER, GATEWAY, SITE, T, batch, catalogue, minute, row
from typer.testing import CliRunner, Result

from edge.wire import topic
from gateway import rejected_cli, store_cli
from gateway.book import Book
from gateway.intake import Intake, Message
from gateway.store import open_store

DATA, CATALOGUE = topic(SITE, GATEWAY, "data"), topic(SITE, GATEWAY, "catalogue")
DAY_NS = 86_400_000_000_000


class Shore:
    """Store and book of a shore file, and the commands over them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "shore.toml"
        self.file.write_text('schema = 1\n[store]\nurl = "sqlite:s.db"\n')
        self.store, self.book = open_store(f"sqlite:{folder / 's.db'}"), Book(folder / "book.db")
        self.intake = Intake(self.store, self.book)
        self.intake.take([Message(CATALOGUE, catalogue().encode())])

    def rejected(self, *words: str) -> Result:
        return CliRunner().invoke(rejected_cli.app, [words[0], "--shore", str(self.file), *words[1:]])


@pytest.fixture
def shore(tmp_path: Path) -> Shore:
    made = Shore(tmp_path)
    rows = [row(T, power_w=1.0), row(T + 1, colour=1), row(T + 2, colour=2), "no line at all"]
    made.intake.take([Message(DATA, batch(1, rows)), Message(DATA, b"nonsense")])
    return made


def test_rows_are_listed_by_reason_and_shown_as_they_came(shore: Shore) -> None:
    listed = shore.rejected("list").stdout.splitlines()
    assert listed[0] == (f"2 rows {SITE}/{GATEWAY}: field 'colour' is not in the catalogue of charger 'charger-1'")
    assert listed[1].startswith("1 rows ") and listed[2].startswith(f"1 messages {DATA}: first line b'nonsense'")
    assert shore.rejected("list", "--gateway", "gw-other").stdout == ""
    shown = shore.rejected("show", "--reason", "colour", "--most", "1")
    assert shown.stdout.splitlines()[0].startswith(f"{SITE}/{GATEWAY} batch 1 line 1: field 'colour'")
    assert shown.stdout.splitlines()[1] == (
        f"  charger,site={SITE},gateway={GATEWAY},device=charger-1,origin=sim colour=1i {T + 1}"
    )
    assert "1 more; give --most" in shown.stderr


def test_rows_are_stored_once_their_cause_is_gone(shore: Shore) -> None:
    again = shore.rejected("replay")
    assert (again.exit_code, again.stdout) == (3, "0 rows stored, 3 still refused\n")
    shore.intake.take([Message(CATALOGUE, catalogue(power_w="float", colour="int").encode())])
    again = shore.rejected("replay")
    assert (again.exit_code, again.stdout) == (3, "2 rows stored, 1 still refused\n")
    assert shore.store.columns("charger", "charger-1", ("colour",), *FOREVER)["colour"].tolist() == [1.0, 2.0]
    assert [seen.text for seen in shore.book.refused()] == ["no line at all"]
    assert shore.book.counters()["replayed"] == 2
    assert shore.rejected("replay", "--reason", "colour").exit_code == 0


def test_a_production_shore_refuses_again_what_is_not_real(shore: Shore) -> None:
    shore.intake.take([Message(CATALOGUE, catalogue(colour="int").encode())])
    shore.file.write_text("schema = 1\nproduction = true\n" + shore.file.read_text().partition("\n")[2])
    assert shore.rejected("replay").exit_code == 3
    assert "a production shore takes real only" in shore.rejected("list").stdout


def test_rows_are_given_up_only_when_told_so(shore: Shore) -> None:
    assert shore.rejected("drop", "--reason", "colour").stdout == "2 rows would be dropped; give --yes\n"
    assert len(shore.book.refused()) == 3
    assert shore.rejected("drop", "--reason", "colour", "--yes").stdout == "2 rows dropped\n"
    assert len(shore.book.refused()) == 1
    assert shore.book.counters()["given_up"] == 2


def test_a_missing_book_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "shore.toml"
    file.write_text('schema = 1\n[store]\nurl = "sqlite:s.db"\n')
    said = CliRunner().invoke(rejected_cli.app, ["list", "--shore", str(file)])
    assert said.exit_code == 2
    assert (
        said.stderr == f"book {tmp_path}/book.db: no such file; check the path, or start `bollard ingest` once\n"
    )


def test_old_raw_rows_go_and_all_that_is_billed_stays(tmp_path: Path) -> None:
    shore = Shore(tmp_path)
    now_ns = time.time_ns() + DAY_NS // 24
    types = catalogue().field_types()
    days = [row(now_ns - n * DAY_NS, power_w=float(n)) for n in range(100)]
    years = [minute(-n * 1440, 0, n) for n in range(4000)]
    event = row(T - 4000 * DAY_NS, "event", tags={"code": "clock_step"}, step_s=2.0)
    assert shore.store.write([*days, *years, event], types) == []
    prune = ["prune", "--shore", str(shore.file)]
    run = CliRunner().invoke
    assert "store.raw_days: is not set; set it, or give --days" in run(store_cli.app, prune).stderr
    assert run(store_cli.app, [*prune, "--days", "30"]).stdout == "69 rows older than 30 days removed\n"
    assert len(shore.store.columns("charger", None, ("power_w",), *FOREVER)) == 31
    assert len(shore.store.columns("energy_1m", None, ("import_wh",), *FOREVER)) == 4000
    assert len(shore.store.columns("event", None, ("step_s",), *FOREVER)) == 1


def test_a_clock_that_is_wrong_does_not_empty_the_store(tmp_path: Path) -> None:
    with closing(open_store(f"sqlite:{tmp_path / 's.db'}")) as store:
        rows = [row(T + n * DAY_NS // 4, power_w=1.0) for n in range(40)]
        assert store.write(rows, catalogue().field_types()) == []
        assert store.prune(2**62) == 35
        assert store.prune(2**62) == 0
        assert len(store.columns("charger", None, ("power_w",), *FOREVER)) == 5


def test_many_rows_go_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.sqlite.PRUNED_AT_ONCE", 7)
    with closing(open_store(f"sqlite:{tmp_path / 's.db'}")) as store:
        rows = [row(T + n, power_w=1.0) for n in range(50)] + [row(T + 2 * DAY_NS, power_w=2.0)]
        assert store.write(rows, catalogue().field_types()) == []
        assert store.prune(T + 30) == 30
        assert len(store.columns("charger", None, ("power_w",), *FOREVER)) == 21
