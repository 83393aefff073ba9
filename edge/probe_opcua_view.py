"""What `bollard edge probe opc.tcp://…` shows: the ways in, then the tree with its values."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from drivers.opcua_security import POLICIES, Endpoint
from drivers.probe_opcua import Node, Tree
from edge.texts import Texts

WIDTH = 100
LONGEST_NAME = 40


def endpoints_view(found: Sequence[Endpoint], texts: Texts) -> RenderableType:
    """What the server offers, the safest last, and the fingerprint to be written into the site file."""
    table = Table(title=texts("probe.ways_in"), box=box.SIMPLE_HEAD, title_justify="left", title_style="")
    for key in ("policy", "mode", "users"):
        table.add_column(texts(f"probe.{key}"), no_wrap=True)
    for policy, mode, users in dict.fromkeys((e.policy, e.mode, e.users) for e in found):
        known = policy == "None" or policy in POLICIES
        name = policy if known else texts("probe.not_used", policy=policy)
        table.add_row(Text(name, "" if known else "dim"), mode if policy != "None" else "", ", ".join(users))
    shown = dict.fromkeys((e.fingerprint, e.subject, e.valid_until) for e in found if e.fingerprint)
    lines = [
        Text(
            texts("probe.certificate", subject=subject, until=until) + f'\n  server_fingerprint = "{fingerprint}"'
        )
        for fingerprint, subject, until in shown
    ]
    return Group(table, *(lines or [Text(texts("probe.no_certificate"))]))


def tree_view(tree: Tree, texts: Texts) -> RenderableType:
    """The tree, a line for each node."""
    table = Table(box=box.SIMPLE_HEAD, width=WIDTH, padding=0)
    table.add_column(texts("probe.node"), no_wrap=True, max_width=LONGEST_NAME)
    table.add_column(texts("probe.node_id"), overflow="fold")
    table.add_column(texts("probe.type"), no_wrap=True)
    table.add_column(texts("watch.value"), overflow="fold", max_width=32)
    table.add_column(texts("probe.status"), no_wrap=True)
    for node in tree.nodes:
        table.add_row(_name(node), node.id, node.type, node.value, _status(node))
    lines: list[RenderableType] = [table]
    if not tree.whole:
        lines.append(Text(texts("probe.more_nodes", nodes=len(tree.nodes)), style="yellow"))
    lines.append(Text(texts("probe.opcua_requests", requests=tree.requests), style="dim"))
    return Group(*lines)


def _name(node: Node) -> Text:
    style = "bold" if node.kind == "object" else ""
    return Text("  " * node.depth + node.name + (" …" if node.more else ""), style)


def _status(node: Node) -> Text:
    return Text(node.status, "green" if node.status == "Good" else "bold red")
