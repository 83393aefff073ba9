"""Configuration of mosquitto for a fleet: TLS both ways, and one access rule per gateway.

Who a client is, its certificate says (`use_identity_as_username`); what it may do stands in the list by that name,
and who is not on the list may do nothing. A stolen gateway can speak for itself alone, until it is revoked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.wire import topic

GATEWAY_WRITES = ("data", "data-z", "status", "catalogue")
GATEWAY_READS = ("receipt", "status")  # its own status: an old connection's will may say that it is gone
SHORE_READS = GATEWAY_WRITES
MESSAGE_BYTES = 4 * 2**20  # a batch has 256 KiB, a catalogue of 5000 points about 1 MiB
QUEUED_MESSAGES, QUEUED_BYTES = 5000, 64 * 2**20  # for one client that is connected and slow
IN_FLIGHT = 1000  # not less than any gateway's [broker] window
CONNECTIONS_TO_SPARE = 20


@dataclass(frozen=True)
class BrokerPlan:
    """What a broker has to know.

    Attributes:
        gateways: (site, gateway) of each that may connect.
        shores: Names of shore services, as in their certificates.
        sites: Sites that the shore services read; empty means all.
        certificates: Folder on the broker's machine with ca.pem, crl.pem, <broker>.pem and <broker>.key.
    """

    broker: str
    gateways: Sequence[tuple[str, str]]
    shores: Sequence[str]
    certificates: Path
    sites: Sequence[str] = ()
    port: int = 8883
    bind: str = "0.0.0.0"
    user: str | None = None


def access_rules(plan: BrokerPlan) -> str:
    """The `acl_file`. Nothing is allowed but what stands there."""
    lines = ["# Made by `bollard broker config`: one block per certificate. Do not edit, make it again."]
    for site, gateway in sorted(plan.gateways):
        lines += ["", f"user {site}/{gateway}"]
        lines += [f"topic write {topic(site, gateway, leaf)}" for leaf in GATEWAY_WRITES]
        lines += [f"topic read {topic(site, gateway, leaf)}" for leaf in GATEWAY_READS]
    for name in sorted(plan.shores):
        lines += ["", f"user {name}"]
        for site in sorted(plan.sites) or ["+"]:
            lines += [f"topic read {topic(site, '+', leaf)}" for leaf in SHORE_READS]
            lines.append(f"topic write {topic(site, '+', 'receipt')}")
    return "\n".join(lines) + "\n"


def configuration(plan: BrokerPlan, folder: Path) -> str:
    """mosquitto.conf, for mosquitto 2.0 and newer; `folder` holds it, the rules and what the broker keeps."""
    certificates = plan.certificates
    lines = [
        "# Made by `bollard broker config`. Do not edit: make it again, and restart mosquitto.",
        "per_listener_settings false",
        f"listener {plan.port} {plan.bind}",
        "",
        "# Both sides show a certificate of this CA; its common name is the user name of the access rules.",
        f"cafile {certificates / 'ca.pem'}",
        f"crlfile {certificates / 'crl.pem'}",
        f"certfile {certificates / f'{plan.broker}.pem'}",
        f"keyfile {certificates / f'{plan.broker}.key'}",
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        f"acl_file {folder / 'acl'}",
        "",
        "# Retained catalogues and statuses outlive a restart. Batches need not: gateways keep them until the",
        "# database has them, and every session of ours is clean.",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 60",
        "persistent_client_expiration 1d",
        "",
        "# Bounds. What does not fit is dropped here and sent again by its gateway.",
        f"max_connections {len(plan.gateways) + len(plan.shores) + CONNECTIONS_TO_SPARE}",
        f"message_size_limit {MESSAGE_BYTES}",
        f"max_inflight_messages {IN_FLIGHT}",
        f"max_queued_messages {QUEUED_MESSAGES}",
        f"max_queued_bytes {QUEUED_BYTES}",
        "set_tcp_nodelay true",
        "",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
    ]
    if plan.user is not None:
        lines.append(f"user {plan.user}")
    return "\n".join(lines) + "\n"
