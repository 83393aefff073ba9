"""`bollard pki …`: certificates for gateways, shore services and brokers."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from edge.tls import WARN_DAYS, expiry
from gateway.errors import GatewayError
from gateway.pki import CA_DAYS, DAYS, Issued, Pki, Role

app = typer.Typer(
    help="A small CA for ports without one: certificates for gateways, shore services and brokers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Folder = Annotated[Path, typer.Option("--pki", help="the CA's folder")]
Days = Annotated[int, typer.Option(min=1, max=36_500, help="days that the certificate holds")]
PKI = Path("pki")


@app.command()
def init(
    pki: Folder = PKI,
    name: Annotated[str, typer.Option(help="the CA's name, as in 'Port of Calais'")] = "bollard CA",
    days: Days = CA_DAYS,
) -> None:
    """Make the CA. Its key signs everything: keep the folder on one machine, with a copy in a safe."""
    with _explained():
        Pki.init(pki, name, days)
    print(pki / "ca.pem")
    print(pki / "crl.pem")


@app.command()
def gateway(
    name: Annotated[str, typer.Argument(help="SITE/GATEWAY, as in the site file: calais/gw-berth-6")],
    pki: Folder = PKI, days: Days = DAYS,
) -> None:  # fmt: skip
    """A certificate for a gateway: it may publish its own data and read its own receipts."""
    _issue("gateway", name, [], pki, days)


@app.command()
def shore(
    name: Annotated[str, typer.Argument(help="as in ingest-1")], pki: Folder = PKI, days: Days = DAYS
) -> None:
    """A certificate for a shore service: it reads all data and writes receipts."""
    _issue("shore", name, [], pki, days)


@app.command()
def broker(
    name: Annotated[str, typer.Argument(help="as in broker-1")],
    host: Annotated[list[str], typer.Option(help="a DNS name or address that clients use; may stand again")],
    pki: Folder = PKI, days: Days = DAYS,
) -> None:  # fmt: skip
    """A certificate for a broker. Clients compare its names with the address that they connect to."""
    _issue("broker", name, host, pki, days)


@app.command()
def renew(name: str, pki: Folder = PKI, days: Days = DAYS) -> None:
    """A new key and certificate in the same files. Copy both over the old: the next connect takes them."""
    with _explained():
        _tell(Pki(pki).renew(name, days), pki)


@app.command()
def revoke(name: str, pki: Folder = PKI) -> None:
    """Let the broker refuse a name: for a stolen gateway. Copy crl.pem to the broker and restart it."""
    with _explained():
        for gone in Pki(pki).revoke(name):
            print(f"revoked {gone.name}, serial {gone.serial}")
    print(pki / "crl.pem")


@app.command()
def status(
    pki: Folder = PKI, warn_days: Annotated[int, typer.Option(min=0, help="days to warn ahead")] = WARN_DAYS
) -> None:
    """Every certificate with its last day. Exit code 1 if one has ended or ends soon."""
    now, soon = datetime.now(UTC), 0
    with _explained():
        ca = expiry(pki / "ca.pem") if (pki / "ca.pem").is_file() else None
        issued = Pki(pki).issued()
    newest = {seen.name: seen for seen in issued}
    rows: list[tuple[str, str, datetime, str | None]] = [("ca", ca.name, ca.ends, None)] if ca else []
    rows += [(seen.role, seen.name, seen.ends, seen.revoked) for seen in newest.values()]
    for role, name, ends, revoked in rows:
        days = (ends - now) // timedelta(days=1)
        said = "good"
        if revoked is not None:
            said = f"revoked {revoked[:10]}"
        elif days < 0:
            said, soon = "ENDED", soon + 1
        elif days < warn_days:
            said, soon = "ENDS SOON", soon + 1
        print(f"{role:8} {name:40} {ends:%Y-%m-%d} {days:6d} d  {said}")
    raise typer.Exit(1 if soon else 0)


def _issue(role: Role, name: str, hosts: list[str], pki: Path, days: int) -> None:
    with _explained():
        _tell(Pki(pki).issue(role, name, hosts, days), pki)


def _tell(issued: Issued, pki: Path) -> None:
    """Files on stdout; where they go on stderr."""
    print(pki / f"{issued.stem}.pem")
    print(pki / f"{issued.stem}.key")
    what = {"gateway": "the gateway: [broker] tls_ca, tls_cert, tls_key of its site file",
            "shore": "its machine: [broker] tls_ca, tls_cert, tls_key of the shore file",
            "broker": "the broker: `bollard broker config` names them"}[issued.role]  # fmt: skip
    print(f"good until {issued.not_after[:10]}; copy these and ca.pem to {what}", file=sys.stderr)


class _explained:  # noqa: N801 - reads as a word
    """An error of ours is one sentence on stderr, and its exit code."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, GatewayError):
            print(error, file=sys.stderr)
            raise typer.Exit(error.exit_code)


if __name__ == "__main__":
    app()
