"""Look at an OPC UA server that is not known yet: its nodes with values, types and status. Only reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua

from drivers.errors import DeviceRefused
from drivers.opcua_session import Limits, Session
from drivers.opcua_settings import OpcUaSettings
from drivers.opcua_transport import name_of

ROOT = "i=85"  # the folder Objects
MOST_NODES, MOST_DEPTH = 200, 5
PER_CALL = 20  # nodes browsed at once; small controllers refuse more
LONGEST_VALUE = 60
CLASSES = {ua.NodeClass.Object: "object", ua.NodeClass.Variable: "variable"}


@dataclass
class Node:
    """One node of the tree.

    Attributes:
        depth: Below the node asked for.
        kind: `object` or `variable`.
        type: Of a variable's value, as in Double or Double[3]; empty where it has none.
        value: As text.
        status: Good, or the name of another status code; empty for what is no variable.
        more: Whether it has children that are not shown.
    """

    depth: int
    name: str
    id: str
    kind: str
    type: str = ""
    value: str = ""
    status: str = ""
    more: bool = False


@dataclass
class Tree:
    """What was found, in the order of a tree. `whole` is False where there is more than was asked for."""

    nodes: list[Node]
    whole: bool
    requests: int


async def tree(
    url: str, settings: OpcUaSettings, root: str = ROOT, depth: int = MOST_DEPTH, most: int = MOST_NODES,
    timeout_s: float = 4.0,
) -> Tree:  # fmt: skip
    """Browse from a node on, level by level, then read the variables.

    Args:
        settings: Security and sign-on, with absolute paths.
        root: A node id, as in `ns=2;s=Pack`.
        depth: Levels below it.
        most: Nodes at most.

    Raises: DeviceUnreachable, DeviceRefused, ReadingRejected; ValueError for a root that is no node id.
    """
    try:
        start = ua.NodeId.from_string(root)
    except (ua.UaError, ValueError) as error:
        raise ValueError(f"--node {root}: is no node id; write it as in ns=2;s=Pack.Voltage or i=85") from error
    async with Session(url, timeout_s, settings, Limits(), {}) as session:
        children, whole = await _browse(session, start, depth, most)
        nodes: list[tuple[Node, Any]] = []
        _flatten(children, start, 0, nodes)
        await _read(session, nodes)
        return Tree([node for node, _ in nodes], whole, session.requests)


async def _browse(session: Session, start: Any, depth: int, most: int) -> tuple[dict[Any, list[Any]], bool]:
    """References by node, breadth first: what is near is seen before what is deep."""
    children: dict[Any, list[Any]] = {}
    level, count, whole = [start], 0, True
    for _ in range(depth):
        following = []
        for at in range(0, len(level), PER_CALL):
            part = level[at : at + PER_CALL]
            for node, references in zip(part, await _references(session, part), strict=True):
                kept = references[: max(0, most - count)]
                whole &= len(kept) == len(references)
                count += len(kept)
                children[node] = kept
                following += [_local(r.NodeId) for r in kept]
        # Namespace 0 is the standard's own: the server's diagnosis, hundreds of nodes that no profile reads.
        level = [node for node in dict.fromkeys(following) if node not in children and node.NamespaceIndex]
        if not level or count >= most:
            break
    return children, whole and not level


def _local(node: Any) -> Any:
    """A reference names an expanded id; what is asked for is a plain one."""
    return ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType)


async def _references(session: Session, nodes: Sequence[Any]) -> list[list[Any]]:
    wanted = [
        ua.BrowseDescription(
            NodeId=node, BrowseDirection=ua.BrowseDirection.Forward,
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences), IncludeSubtypes=True,
            NodeClassMask=ua.NodeClass.Object | ua.NodeClass.Variable, ResultMask=63,
        )
        for node in nodes
    ]  # fmt: skip
    request = ua.BrowseRequest(Parameters=ua.BrowseParameters(NodesToBrowse=wanted))
    response = await session.ask(request, ua.BrowseResponse, f"children of {nodes[0].to_string()}")
    found: list[list[Any]] = []
    for node, result in zip(nodes, response.Results, strict=True):
        if not result.StatusCode.is_good():
            if len(nodes) == 1:
                raise DeviceRefused(f"{session.endpoint}: {node.to_string()}: {name_of(result.StatusCode.value)}")
            found.append([])
            continue
        found.append([*result.References, *await _rest(session, result.ContinuationPoint)])
    return found


async def _rest(session: Session, point: bytes | None) -> list[Any]:
    """What did not fit into one answer."""
    found: list[Any] = []
    while point and len(found) < MOST_NODES:
        parameters = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[point])
        response = await session.ask(
            ua.BrowseNextRequest(Parameters=parameters), ua.BrowseNextResponse, "more children"
        )
        (result,) = response.Results
        if not result.StatusCode.is_good():
            break
        found += result.References
        point = result.ContinuationPoint
    return found


def _flatten(children: dict[Any, list[Any]], at: Any, depth: int, nodes: list[tuple[Node, Any]]) -> None:
    for reference in children.get(at, ()):
        node = _local(reference.NodeId)
        name = reference.DisplayName.Text or reference.BrowseName.Name or ""
        kind = CLASSES.get(reference.NodeClass, str(reference.NodeClass))
        shown = Node(depth, name, node.to_string(), kind, more=kind == "object" and node not in children)
        if any(known == node for _, known in nodes):  # a node with two parents is shown once
            continue
        nodes.append((shown, node))
        _flatten(children, node, depth + 1, nodes)


async def _read(session: Session, nodes: Sequence[tuple[Node, Any]]) -> None:
    variables = [(shown, node) for shown, node in nodes if shown.kind == "variable"]
    if not variables:
        return
    for (shown, _), found in zip(variables, await session.read([node for _, node in variables]), strict=True):
        shown.status = name_of(found.StatusCode.value) if found.StatusCode is not None else "Good"
        if found.Value is not None and found.Value.Value is not None:
            shown.type, shown.value = _text(found.Value)


def _text(variant: Any) -> tuple[str, str]:
    """Type and value of a variant."""
    value, name = variant.Value, variant.VariantType.name
    if isinstance(value, list):
        name, text = f"{name}[{len(value)}]", ", ".join(map(_short, value[:8]))
    else:
        text = _short(value)
    return name, text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return value[:16].hex(" ")
    if isinstance(value, ua.LocalizedText | ua.QualifiedName):
        return str(getattr(value, "Text", None) or getattr(value, "Name", None) or "")
    if isinstance(value, ua.NodeId):
        return str(value.to_string())
    return f"{value:.7g}" if isinstance(value, float) else str(value).replace("\n", " ")
