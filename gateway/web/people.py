"""Who may see what: users with a role and sites, their sessions, tokens for other systems, and what they did.

Passwords are kept as argon2id hashes, sessions and tokens as SHA-256 of a random secret that only the browser or
the other system has. Nothing here is a right over equipment: there is none.
"""

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.book import Book
from gateway.errors import GatewayError

Role = Literal["viewer", "supervisor", "engineer", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "supervisor", "engineer", "admin")  # each may do what those before it may
LEAST_PASSWORD = 12  # characters; ANSSI and NIST both ask for length first
SESSION_S = 12 * 3600.0  # idle longer than a shift: sign in again
# Of a random password that nobody has: an unknown name takes as long as a wrong password.
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$jgB3+0EjkJUWXkoTR9uSjA$Hj7LKVqfO5ZL8b97BM15YrdOfhGX5NPLpwq+qSG78l4"
SESSION, TOKEN, WALL = range(3)  # what a secret is, in the book's column `lasting`: 0 alone expires
TRIES, TRIES_S = 5, 300.0  # wrong passwords per name or address, then a pause


class PeopleError(GatewayError):
    """A user cannot be added, changed or signed in. One sentence."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class User:
    """A person or another system. `sites`: those that it sees; none listed means all."""

    name: str
    role: Role
    sites: tuple[str, ...] = ()

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, site: str) -> bool:
        return not self.sites or site in self.sites


class People:
    """Users, sessions, tokens and audit, in the book. Any thread may call. Raises: StoreError."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._hasher = PasswordHasher()  # argon2id, 64 MiB
        self._wrong: dict[str, list[float]] = {}

    # Users

    def add(self, name: str, password: str, role: Role, sites: Sequence[str] = (), by: str = "") -> None:
        """Raises: PeopleError if the name is taken, or the password is too short."""
        _check(name, password, role)
        with self._book.writing() as db:
            try:
                db.execute(
                    "INSERT INTO person VALUES (?, ?, ?, ?, ?)",
                    (name, self._hasher.hash(password), role, json.dumps(list(sites)), time.time_ns()),
                )
            except sqlite3.IntegrityError as error:
                raise PeopleError(
                    f"user {name!r} is there already; change it with `bollard user passwd`"
                ) from error
            _audit(db, by or "command line", "user_added", f"{name} {role} {','.join(sites) or 'all sites'}")

    def change_password(self, name: str, password: str, by: str = "") -> None:
        """A new password; ends the user's sessions. Raises: PeopleError."""
        with self._book.writing() as db:
            found = db.execute("SELECT role FROM person WHERE name = ?", (name,)).fetchone()
            if found is None:
                raise PeopleError(f"there is no user {name!r}; see `bollard user list`")
            _check(name, password, found[0])
            db.execute("UPDATE person SET hash = ? WHERE name = ?", (self._hasher.hash(password), name))
            db.execute("DELETE FROM web_session WHERE name = ? AND lasting = 0", (name,))
            _audit(db, by or "command line", "password_changed", name)

    def remove(self, name: str, by: str = "") -> None:
        """Raises: PeopleError."""
        with self._book.writing() as db:
            if db.execute("DELETE FROM person WHERE name = ?", (name,)).rowcount == 0:
                raise PeopleError(f"there is no user {name!r}; see `bollard user list`")
            db.execute("DELETE FROM web_session WHERE name = ?", (name,))
            _audit(db, by or "command line", "user_removed", name)

    def users(self) -> list[User]:
        with self._book.reading() as db:
            found = db.execute("SELECT name, role, sites FROM person ORDER BY name").fetchall()
        return [User(name, role, tuple(json.loads(sites))) for name, role, sites in found]

    # Sessions

    def sign_in(self, name: str, password: str, address: str) -> tuple[User, str] | None:
        """User and the secret of a new session; None if name or password is wrong.

        Raises: PeopleError after too many wrong ones from a name or an address.
        """
        self._pause_for(name, address)
        with self._book.reading() as db:
            found = db.execute("SELECT hash, role, sites FROM person WHERE name = ?", (name,)).fetchone()
        try:
            right = self._hasher.verify(found[0] if found else NOBODY, password) and found is not None
        except (VerificationError, InvalidHashError):
            right = False
        if not right:
            for key in (f"name {name}", f"address {address}"):
                self._wrong.setdefault(key, []).append(time.monotonic())
            with self._book.writing() as db:
                _audit(db, name[:60], "sign_in_refused", address)
            return None
        self._wrong.pop(f"name {name}", None)
        return User(name, found[1], tuple(json.loads(found[2]))), self._begin(name, address, SESSION)

    def token(self, name: str, by: str = "", wall: bool = False) -> str:
        """A secret that does not expire, for another system; `wall`: for a display, and it only looks.

        Raises: PeopleError.
        """
        if all(user.name != name for user in self.users()):
            raise PeopleError(f"there is no user {name!r}; see `bollard user list`")
        return self._begin(name, by or "command line", WALL if wall else TOKEN)

    def sign_out(self, secret: str) -> None:
        with self._book.writing() as db:
            db.execute("DELETE FROM web_session WHERE digest = ?", (_digest(secret),))

    def by_secret(self, secret: str) -> User | None:
        """Whose session or token it is; None if there is none, or it has expired. Keeps a session alive."""
        found = self._session(secret)
        if found is None:
            return None
        user, idle_s, kind = found
        if kind == SESSION and idle_s > 60.0:  # not a write per request
            with self._book.writing() as db:
                db.execute(
                    "UPDATE web_session SET seen_ns = ? WHERE digest = ?", (time.time_ns(), _digest(secret))
                )
        return replace(user, role="viewer") if kind == WALL else user

    def by_cookie(self, secret: str) -> User | None:
        """The same for what a browser keeps: a session or a wall display's token, never that of another system."""
        found = self._session(secret)
        return None if found is None or found[2] == TOKEN else self.by_secret(secret)

    def is_wall(self, secret: str) -> bool:
        """Whether it is the token of a wall display."""
        found = self._session(secret)
        return found is not None and found[2] == WALL

    def holds(self, secret: str) -> bool:
        """Whether session or token still is one; keeps nothing alive."""
        return self._session(secret) is not None

    def _session(self, secret: str) -> tuple[User, float, int] | None:
        """User, idle time in seconds, and what the secret is; an expired session ends here."""
        with self._book.reading() as db:
            found = db.execute(
                "SELECT person.name, role, sites, seen_ns, lasting FROM web_session JOIN person USING (name)"
                " WHERE digest = ?",
                (_digest(secret),),
            ).fetchone()
        if found is None:
            return None
        name, role, sites, seen_ns, kind = found
        idle_s = (time.time_ns() - seen_ns) / 1e9
        if kind == SESSION and idle_s > SESSION_S:
            self.sign_out(secret)
            return None
        return User(name, role, tuple(json.loads(sites))), idle_s, kind

    def _begin(self, name: str, address: str, kind: int) -> str:
        secret = secrets.token_urlsafe(32)
        with self._book.writing() as db:
            now_ns = time.time_ns()
            db.execute("INSERT INTO web_session VALUES (?, ?, ?, ?)", (_digest(secret), name, now_ns, kind))
            db.execute(
                "DELETE FROM web_session WHERE lasting = 0 AND seen_ns < ?", (now_ns - int(SESSION_S * 1e9),)
            )
            _audit(db, name, ("signed_in", "token_made", "wall_token_made")[kind], address)
        return secret

    def _pause_for(self, name: str, address: str) -> None:
        now_s = time.monotonic()
        for key in (f"name {name}", f"address {address}"):
            recent = [t for t in self._wrong.get(key, ()) if now_s - t < TRIES_S]
            self._wrong[key] = recent
            if len(recent) >= TRIES:
                raise PeopleError(f"too many wrong passwords for this {key.partition(' ')[0]}")

    # What was done

    def audit(self, who: str, action: str, detail: str) -> None:
        with self._book.writing() as db:
            _audit(db, who, action, detail)

    def audited(self, most: int = 500) -> list[tuple[int, str, str, str]]:
        """Instant, who, action, detail; the latest first."""
        with self._book.reading() as db:
            return list(
                db.execute("SELECT t_ns, who, action, detail FROM audit ORDER BY number DESC LIMIT ?", (most,))
            )


def _check(name: str, password: str, role: str) -> None:
    if not name or len(name) > 60 or name != name.strip() or not name.isprintable():
        raise PeopleError(f"user name {name[:60]!r}: give 1 to 60 characters without blanks at its ends")
    if role not in ROLES:
        raise PeopleError(f"role {role!r} is none of {', '.join(ROLES)}")
    if len(password) < LEAST_PASSWORD:
        raise PeopleError(f"a password of {len(password)} characters is too short; give {LEAST_PASSWORD} or more")
    if len(password) > 1000:
        raise PeopleError("a password of over 1000 characters; give a shorter one")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _audit(db: sqlite3.Connection, who: str, action: str, detail: str) -> None:
    db.execute(
        "INSERT INTO audit (t_ns, who, action, detail) VALUES (?, ?, ?, ?)", (time.time_ns(), who, action, detail)
    )
