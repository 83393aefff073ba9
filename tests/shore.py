"""Rows, catalogues and batches as an edge makes them, for tests of the shore side."""

from edge.wire import Catalogue, Header, RowLine, body_of, crc32, encode_batch, encode_row

SITE, GATEWAY = "demo-port", "gw-quay-1"
SPOOL = "0b8e4d3a-0000-4000-8000-000000000001"
T = 1_790_000_000_000_000_000
MINUTE = 60_000_000_000
FOREVER = (-(2**63), 2**63 - 1)


def catalogue(gateway: str = GATEWAY, **points: str) -> Catalogue:
    """A catalogue with one charger, `charger-1`, that offers these points."""
    offered = points or {"power_w": "float", "state": "int", "vessel": "str"}
    device = {
        "name": "charger-1", "kind": "charger", "origin": "sim", "profile": "p", "profile_hash": "h", "model": "m",
        "interval_s": 1.0, "points": [
            {"name": n, "type": t, "unit": "", "scan": "live", "range": None, "codes": {}, "fr": "", "en": ""}
            for n, t in offered.items()
        ],
    }  # fmt: skip
    return Catalogue(SITE, gateway, "f00d", {"site": {"name": SITE, "gateway": gateway}}, (device,))


def row(
    t_ns: int,
    kind: str = "charger",
    device: str = "charger-1",
    tags: dict[str, str] | None = None,
    **fields: object,
) -> RowLine:
    """A row of SITE and GATEWAY; `tags` adds to or replaces its tags."""
    all_tags = {"site": SITE, "gateway": GATEWAY, "device": device, "origin": "sim"} | (tags or {})
    return RowLine(kind, all_tags, fields, t_ns)  # type: ignore[arg-type]


def minute(n: int, rev: int, import_wh: int, **more: object) -> RowLine:
    """A row of energy_1m of `meter-1`, n minutes after T."""
    fields = {"import_wh": import_wh, "covered_s": 60.0} | more
    return row(T + n * MINUTE, "energy_1m", "meter-1", {"rev": str(rev)}, **fields)


def batch(number: int, lines: list[str | RowLine], gateway: str = GATEWAY, lane: str = "live") -> bytes:
    """A batch as the edge seals it."""
    text = [x if isinstance(x, str) else encode_row(x.kind, x.tags, x.fields, x.t_ns) for x in lines]
    body = body_of(text)
    return encode_batch(Header(SITE, gateway, SPOOL, number, lane, len(lines), crc32(body)), body)
