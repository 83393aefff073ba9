"""`bollard broker …`: the configuration of a mosquitto that serves gateways and ingest."""

import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.broker_config import IN_FLIGHT, BrokerPlan, access_rules, configuration
from gateway.config import load_shore
from gateway.errors import ConfigError, GatewayError
from gateway.files import Content, write_whole
from gateway.pki import Pki

app = typer.Typer(
    help="Configuration of mosquitto: TLS, and one access rule per gateway.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
PORT = 8883


@app.callback()
def _group() -> None:
    """So that `config` keeps its name although it is alone."""


@app.command()
def config(
    shore: Annotated[
        Path | None, typer.Option(help="the shore file: its port, and every gateway of its sites")
    ] = None,
    site: Annotated[
        list[Path] | None, typer.Option(help="a site file: this gateway only; may stand again")
    ] = None,
    pki: Annotated[Path, typer.Option("--pki", help="the CA's folder, see `bollard pki`")] = Path("pki"),
    out: Annotated[Path, typer.Option(help="folder to write mosquitto.conf and acl into")] = Path("mosquitto"),
    broker: Annotated[str | None, typer.Option(help="name of the broker's certificate")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="port to listen on; 8883")] = None,
    bind: Annotated[str, typer.Option(help="address to listen on")] = "0.0.0.0",
    certificates: Annotated[
        Path | None, typer.Option(help="where certificates lie on the broker's machine; the CA's folder")
    ] = None,
    user: Annotated[str | None, typer.Option(help="system user that mosquitto becomes; mosquitto")] = None,
) -> None:  # fmt: skip
    """Write mosquitto.conf and its access rules. Give --shore, or --site for each gateway."""
    try:
        plan = _plan(shore, site or [], Pki(pki), broker, port, bind, certificates, user)
        _write(out, plan)
    except GatewayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    print(out / "mosquitto.conf")
    print(out / "acl")
    print(
        f"{len(plan.gateways)} gateways, {len(plan.shores)} shore services; start: mosquitto -c"
        f" {out / 'mosquitto.conf'}; its user must be able to read {plan.broker}.key and to write {out}",
        file=sys.stderr,
    )


def _plan(
    shore: Path | None, sites: list[Path], pki: Pki, broker: str | None, port: int | None, bind: str,
    certificates: Path | None, user: str | None,
) -> BrokerPlan:  # fmt: skip
    if shore is None and not sites:
        raise ConfigError("give --shore FILE, or --site FILE for each gateway")
    settings = load_shore(shore) if shore is not None else None
    known = [(seen.name.split("/")[0], seen.name.split("/")[1]) for seen in pki.valid("gateway")]
    taken = settings.sites if settings is not None else ()
    gateways = [seen for seen in known if not taken or seen[0] in taken] if settings is not None else []
    ports = [settings.broker.port] if settings is not None and settings.broker.tls_ca else []
    for file in sites:
        name, gateway, its_port = _gateway_of(file)
        if (name, gateway) not in known:
            raise ConfigError(
                f"{file}: {name}/{gateway} has no valid certificate; run `bollard pki gateway {name}/{gateway}"
                f" --pki {pki.folder}`"
            )
        gateways.append((name, gateway))
        ports += [its_port] if its_port is not None else []
    brokers = [seen.name for seen in pki.valid("broker")]
    chosen = broker or (brokers[0] if len(brokers) == 1 else None)
    if chosen not in brokers:
        raise ConfigError(
            f"--broker {broker}: certificates for brokers in {pki.folder}: {', '.join(brokers) or 'none'};"
            " name one, or make it with `bollard pki broker NAME --host ADDRESS`"
        )
    if port is None and len(set(ports)) > 1:
        raise ConfigError(f"the files name different broker ports ({sorted(set(ports))}); give --port")
    return BrokerPlan(
        broker=chosen, gateways=sorted(set(gateways)), shores=[seen.name for seen in pki.valid("shore")],
        certificates=(certificates or pki.folder).absolute(), sites=taken, port=port or (ports or [PORT])[0],
        bind=bind, user=user,
    )  # fmt: skip


def _gateway_of(file: Path) -> tuple[str, str, int | None]:
    """Site, gateway and broker port of a site file: `bollard edge check` looks at the rest of it."""
    try:
        table: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
        name, gateway, broker = str(table["site"]["name"]), str(table["site"]["gateway"]), table["broker"]
        if int(broker.get("window", 0)) > IN_FLIGHT:
            raise ConfigError(
                f"{file}: broker.window = {broker['window']}: the broker takes {IN_FLIGHT} in flight; lower it"
            )
        port = broker.get("port", PORT if "tls_ca" in broker else None)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; give an existing site file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # also not TOML, not UTF-8
        raise ConfigError(f"{file}: is no site file ({error!r}); see `bollard edge check`") from error
    return name, gateway, port


def _write(out: Path, plan: BrokerPlan) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        rules, settings = access_rules(plan), configuration(plan, out.absolute())
        write_whole([Content(out / "acl", rules.encode()), Content(out / "mosquitto.conf", settings.encode())])
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}; give another --out") from error


if __name__ == "__main__":
    app()
