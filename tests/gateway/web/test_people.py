"""Users, sessions and tokens."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.book import Book
from gateway.web import people as module
from gateway.web.people import TRIES, People, PeopleError, User

PASSWORD = "a long enough one"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with closing(Book(tmp_path / "book.db")) as book:
        made = People(book)
        made.add("anne", PASSWORD, "supervisor", ["calais"])
        yield made


def test_a_session_lasts_until_one_signs_out(people: People) -> None:
    found = people.sign_in("anne", PASSWORD, "10.0.0.7")
    assert found is not None
    user, secret = found
    assert user == User("anne", "supervisor", ("calais",)) == people.by_secret(secret)
    people.sign_out(secret)
    assert people.by_secret(secret) is None


def test_neither_password_nor_secret_is_kept(people: People, tmp_path: Path) -> None:
    found = people.sign_in("anne", PASSWORD, "10.0.0.7")
    assert found is not None
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert PASSWORD.encode() not in held and found[1].encode() not in held and b"$argon2id$" in held


def test_a_session_that_was_idle_for_a_shift_has_ended(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    found = people.sign_in("anne", PASSWORD, "10.0.0.7")
    token = people.token("anne")
    assert found is not None
    real_ns = module.time.time_ns()
    monkeypatch.setattr(module.time, "time_ns", lambda: real_ns + int((module.SESSION_S + 1) * 1e9))
    assert people.by_secret(found[1]) is None
    assert people.by_secret(token) is not None  # a wall display does not expire


def test_wrong_passwords_make_a_pause_for_the_name_and_say_nothing_else(people: People) -> None:
    for i in range(TRIES):
        assert people.sign_in("anne", "wrong", f"10.0.0.{i}") is None
    with pytest.raises(PeopleError, match="name"):
        people.sign_in("anne", PASSWORD, "10.0.1.1")
    assert people.sign_in("nobody", "wrong", "10.0.1.2") is None


def test_another_password_ends_sessions(people: People) -> None:
    found = people.sign_in("anne", PASSWORD, "10.0.0.7")
    assert found is not None
    people.change_password("anne", "another long one")
    assert people.by_secret(found[1]) is None
    assert people.sign_in("anne", "another long one", "10.0.0.7") is not None


def test_removing_a_user_ends_sessions_and_tokens(people: People) -> None:
    token = people.token("anne")
    people.remove("anne")
    assert people.by_secret(token) is None
    assert [entry[2] for entry in people.audited()] == ["user_removed", "token_made", "user_added"]


@pytest.mark.parametrize(
    ("name", "password", "role", "said"),
    [
        ("anne", PASSWORD, "viewer", "there already"),
        ("bruno", "short", "viewer", "12 or more"),
        ("bruno", PASSWORD, "king", "none of viewer"),
        ("", PASSWORD, "viewer", "1 to 60"),
        ("a\nb", PASSWORD, "viewer", "1 to 60"),
    ],
)
def test_what_cannot_be_a_user(people: People, name: str, password: str, role: str, said: str) -> None:
    with pytest.raises(PeopleError, match=said):
        people.add(name, password, role)  # type: ignore[arg-type]


def test_a_role_may_do_what_those_before_it_may() -> None:
    assert User("a", "admin").may("viewer") and not User("v", "viewer").may("supervisor")
    assert User("a", "viewer", ("calais",)).sees("calais") and not User("a", "viewer", ("calais",)).sees("douai")
