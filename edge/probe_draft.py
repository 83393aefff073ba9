"""What `bollard edge probe --draft` writes: a profile of chosen registers or nodes, or of all that was seen."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drivers.probe import Span
from drivers.probe_words import Guess, guesses
from edge.probe_command import Found, shown_matches
from edge.profile_draft import PointDraft, ProfileDraft, labelled, parse_point
from edge.texts import Texts

if TYPE_CHECKING:
    from drivers.probe_opcua import Node, Tree

BITS = ("coil", "discrete")
TEXT_WORDS = 32  # room for a text of which only one value was seen
NODE_TYPES = {
    "Double": "float64", "Float": "float32", "Boolean": "bool", "String": "string", "SByte": "int16",
    "Byte": "uint16", "Int16": "int16", "UInt16": "uint16", "Int32": "int32", "UInt32": "uint32", "Int64": "int64",
    "UInt64": "uint64",
}  # fmt: skip


def modbus_draft(found: Found, takes: Sequence[str], kind: str, texts: Texts) -> ProfileDraft:
    """Points of the chosen registers; without a choice, of all that look like a measurement.

    What a number alone tells (the grid's frequency, a usual voltage) has its name; the rest waits as comments.
    Raises: ValueError, for a choice that cannot be, and where nothing looks like a measurement.
    """
    span = found.span
    assert span is not None
    seen = guesses(span.words) if span.table not in BITS else {}
    best = shown_matches(found.matches)[0]
    likely = best[0].reading.profile.kind if best and best[0].reading else "meter"
    draft = _begun(kind or likely, " ".join(found.plate), found.endpoint, "modbus", texts)
    draft.table = span.table
    draft.forbidden = [[first, last] for first, last, why in span.gaps() if why == "exception_2"]
    if takes:
        draft.points = [_taken(take, span, seen, texts) for take in takes]
    elif span.table in BITS:
        draft.points = [
            PointDraft(
                {"name": f"{span.table}_{address}", "address": address, "type": "bool"},
                texts("profile_new.seen", value=bit),
            )
            for address, bit in sorted(span.words.items())
        ]
    else:
        named = _names(seen)
        made = {address: _point(named.get(address, ""), address, guess, texts) for address, guess in seen.items()}
        draft.points = [point for address, point in made.items() if not named or address in named]
        draft.spare = [point for address, point in made.items() if named and address not in named]
    return _labelled(draft, texts)


def opcua_draft(tree: "Tree", url: str, takes: Sequence[str], kind: str, texts: Texts) -> ProfileDraft:
    """The same of nodes; without a choice, of all variables but the standard's own. Raises: ValueError."""
    draft = _begun(kind or "battery", "", url, "opcua", texts)
    variables = [node for node in tree.nodes if node.kind == "variable" and node.type in NODE_TYPES]
    nodes = {node.id: node for node in variables if node.id.startswith("ns=")}
    if takes:
        draft.points = [_taken_node(take, nodes, texts) for take in takes]
    else:
        names: dict[str, int] = {}
        for node in nodes.values():
            slug = re.sub(r"[^a-z0-9]+", "_", node.name.lower()).strip("_") or "node"
            names[slug] = names.get(slug, 0) + 1
            name = slug if names[slug] == 1 else f"{slug}_{names[slug]}"
            draft.points.append(_node(name, node, texts))
    return _labelled(draft, texts)


def _begun(kind: str, model: str, url: str, protocol: str, texts: Texts) -> ProfileDraft:
    date = datetime.now(UTC).date().isoformat()
    source = texts("profile_new.from_device", url=url, date=date)
    return ProfileDraft(kind, model or texts("profile_new.model_unknown"), source, protocol)


def _labelled(draft: ProfileDraft, texts: Texts) -> ProfileDraft:
    from edge.profile_cli import points_of

    if not draft.points:
        raise ValueError(texts("probe.nothing_to_draft"))
    known = points_of(draft.kind)
    draft.points = [PointDraft(labelled(point.keys, known), point.note) for point in draft.points]
    return draft


def _names(seen: dict[int, Guess]) -> dict[int, str]:
    """First address -> name, where the number alone tells the quantity: one frequency, the voltages in order."""
    hz = [address for address, guess in seen.items() if guess.quantity == "hz"][:1]
    volts = [address for address, guess in seen.items() if guess.quantity == "v"][:3]
    return dict.fromkeys(hz, "frequency_hz") | {address: f"voltage_l{n}_v" for n, address in enumerate(volts, 1)}


def _point(name: str, address: int, guess: Guess, texts: Texts) -> PointDraft:
    keys: dict[str, Any] = {"name": name or f"register_{address}", "address": address}
    if guess.type == "text":
        keys |= {"type": "string", "length": guess.words}
    else:
        keys["type"] = guess.type
        if guess.order and guess.order != "abcd":
            keys["order"] = guess.order
        if guess.divisor > 1:
            keys["scale"] = 1.0 / guess.divisor
    value = f"{guess.value:.7g}" if isinstance(guess.value, float) else guess.value
    return PointDraft(keys, texts("profile_new.seen", value=value))


def _taken(take: str, span: Span, seen: dict[int, Guess], texts: Texts) -> PointDraft:
    """`NAME=ADDRESS` with the type that the register seems to have, or all as in `bollard profile new`."""
    name, _, where = take.partition("=")
    if "," in take or not where:
        return PointDraft(parse_point(take, "--take"))
    if span.table in BITS:
        return PointDraft(parse_point(f"{take},bool", "--take"))
    keys = parse_point(f"{take},uint16", "--take")
    guess = seen.get(keys.get("address", -1))
    if guess is None:
        known = ", ".join(map(str, seen)) or "-"
        raise ValueError(texts("probe.take_what", take=take, name=name, where=where, known=known))
    return _point(name, keys["address"], guess, texts)


def _taken_node(take: str, nodes: "dict[str, Node]", texts: Texts) -> PointDraft:
    name, _, where = take.partition("=")
    if "," in take or not where:
        return PointDraft(parse_point(take, "--take"))
    if where not in nodes:
        raise ValueError(texts("probe.take_node", take=take, name=name, where=where))
    return _node(name, nodes[where], texts)


def _node(name: str, node: "Node", texts: Texts) -> PointDraft:
    keys: dict[str, Any] = {"name": name, "node": node.id, "type": NODE_TYPES[node.type]}
    if keys["type"] == "string":
        keys["length"] = TEXT_WORDS
    return PointDraft(keys, texts("profile_new.seen", value=node.value))
