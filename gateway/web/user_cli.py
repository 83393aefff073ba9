"""`bollard user`: who may look at the page."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.book import Book
from gateway.config import load_shore
from gateway.errors import GatewayError
from gateway.web.people import People

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


class Role(StrEnum):
    VIEWER = "viewer"
    SUPERVISOR = "supervisor"
    ENGINEER = "engineer"
    ADMIN = "admin"


ShoreOption = Annotated[Path, typer.Option(help="the shore file: where the book is")]
NameArgument = Annotated[str, typer.Argument(help="the user's name")]
PasswordOption = Annotated[
    bool, typer.Option("--password-stdin", help="read the password from standard input, one line")
]


@app.command()
def add(
    name: NameArgument,
    shore: ShoreOption,
    role: Annotated[Role, typer.Option(help="what the user may do")] = Role.VIEWER,
    site: Annotated[list[str] | None, typer.Option(help="a site that the user sees; all if left out")] = None,
    password_stdin: PasswordOption = False,
) -> None:
    """Add a user; the first has to be an admin."""
    with _people(shore) as people:
        if not people.users() and role is not Role.ADMIN:
            _fail("the first user has to be an admin; give --role admin")
        people.add(name, _password(password_stdin), role.value, site or ())


@app.command()
def passwd(name: NameArgument, shore: ShoreOption, password_stdin: PasswordOption = False) -> None:
    """Give a user another password; ends their sessions."""
    with _people(shore) as people:
        people.change_password(name, _password(password_stdin))


@app.command()
def remove(name: NameArgument, shore: ShoreOption) -> None:
    """Remove a user with all sessions and tokens. What they did stays in the journal."""
    with _people(shore) as people:
        people.remove(name)


@app.command("list")
def list_users(shore: ShoreOption) -> None:
    """Print name, role and sites of each user."""
    with _people(shore) as people:
        for user in people.users():
            print(f"{user.name}\t{user.role}\t{', '.join(user.sites) or 'all sites'}")


@app.command()
def token(
    name: NameArgument,
    shore: ShoreOption,
    wall: Annotated[
        bool, typer.Option("--wall", help="for a wall display (/wall?token=…): it only looks")
    ] = False,
) -> None:
    """Print a token for another system, with all that the user may do. It lasts as long as the user."""
    with _people(shore) as people:
        print(people.token(name, wall=wall))


@contextmanager
def _people(shore: Path) -> Iterator[People]:
    try:
        with closing(Book(load_shore(shore, secrets=False).book.path)) as book:
            yield People(book)
    except GatewayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _fail(message: str) -> None:
    print(message, file=sys.stderr)
    raise typer.Exit(2)
