"""`bollard site key | sign | verify`: who answers for what a gateway in production polls."""

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

SiteOption = Annotated[Path, typer.Option("--site", help="The site file (TOML).", show_default=False)]


@contextmanager
def _explained() -> Iterator[None]:
    from edge.config import ConfigError

    try:
        yield
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error


def key(file: Annotated[Path, typer.Argument(help="as in quay.key; the public half becomes quay.pem")]) -> None:
    """A new key to sign site files with. Keep it away from the gateways; they get the .pem."""
    from edge.signing import TRUSTED, make_key

    with _explained():
        public = make_key(file)
    print(file)
    print(public)
    print(f"copy {public.name} to {TRUSTED} on each gateway", file=sys.stderr)


def sign(
    site: SiteOption,
    key: Annotated[Path, typer.Option(help="the key's file")],
    name: Annotated[str, typer.Option(help="who signs; the name of this session's user if not given")] = "",
) -> None:
    """Check a site file and sign it, with all profiles and cell models of one's own that it names."""
    from edge.config import LoadedSite
    from edge.signing import sign as signed

    with _explained():
        print(signed(LoadedSite.load(site), key, name or getpass.getuser()))


def verify(
    site: SiteOption,
    trusted: Annotated[Path | None, typer.Option(help="folder of the keys that are trusted")] = None,
) -> None:
    """Who has signed a site file. Exit code 2 if nobody who is trusted has, or it has changed since."""
    from edge.config import LoadedSite
    from edge.signing import trusted_folder
    from edge.signing import verify as verified

    with _explained():
        found = verified(LoadedSite.load(site), trusted or trusted_folder())
    print(f"{site}: signed by {found['name']} at {found['at']}, key {found['key']}")
