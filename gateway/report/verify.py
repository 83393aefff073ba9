"""Does a filed report still follow from its rows? Finds a changed byte in either, and names where it stands."""

import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.report.attach import packed_here
from gateway.report.data import figure_json
from gateway.report.errors import WrongInput
from gateway.report.figure import Figure
from gateway.report.frozen import Answer, FrozenStore, column_of, rows_hash
from gateway.report.issue import MANIFEST, Format, Issue, again
from gateway.report.month import NS
from gateway.report.rollup_issue import RollupIssue
from gateway.store.base import Columns, Store
from gateway.texts import LANGS

EMBEDDED = re.compile(rb"<<[^<>]*?/Type\s*/EmbeddedFile.*?>>\s*stream\r?\n", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """`code` is a sentence of `report.verify`; `values` fill it."""

    ok: bool
    code: str
    values: Mapping[str, object]


def read_report(path: Path) -> dict[str, Any]:
    """The data of a report, from its JSON or from inside its PDF. Raises: WrongInput, OSError."""
    data = path.read_bytes()
    texts = embedded(data) if data.startswith(b"%PDF") else iter([data])
    for text in texts:
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict) and "manifest" in found and "figures" in found:
            if found["manifest"]["manifest"] > MANIFEST:
                raise WrongInput(f"{path}: made by {found['manifest']['software']}, newer than this bollard")
            return found
    raise WrongInput(f"{path} holds no data of a report; give a PDF or JSON that `bollard report` wrote")


def embedded(pdf: bytes) -> Iterator[bytes]:
    """Files inside a PDF that we wrote; one that cannot be unpacked is left out."""
    for match in EMBEDDED.finditer(pdf):
        raw = pdf[match.end() :]
        if b"/FlateDecode" not in match[0]:
            length = re.search(rb"/Length (\d+)", match[0])
            yield raw[: int(length[1])] if length else b""
            continue
        try:
            yield zlib.decompressobj().decompress(raw)
        except zlib.error:
            continue


def verify(path: Path, rows: Path, store: Store | None = None) -> list[Finding]:
    """Read a report and its frozen rows once more.

    Args:
        path: PDF or JSON of the report.
        rows: The file that `--final` wrote beside it.
        store: To name the first row that is not what it was.

    Raises: WrongInput where a file is of another kind; OSError.
    """
    data = read_report(path)
    manifest = data["manifest"]
    findings = [_sealed(rows)]
    try:
        frozen = FrozenStore(rows)
    except WrongInput as error:
        if findings[0].ok:
            raise
        return [*findings, Finding(False, "column_broken", {"why": error})]
    findings += _rows(frozen, manifest, store)
    if not all(finding.ok for finding in findings):
        return findings
    made = again(frozen, manifest)
    findings.append(compared(data, made.report.figures()))
    if findings[-1].ok:
        findings.append(same_file(path, made, manifest))
    return findings


def seal(path: Path) -> str:
    """A line as `sha256sum` writes it."""
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"


def seal_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _sealed(rows: Path) -> Finding:
    if not seal_path(rows).exists():
        return Finding(True, "unsealed", {"file": rows.name})
    same = seal_path(rows).read_text().split()[:1] == seal(rows).split()[:1]
    return Finding(same, "sealed" if same else "seal_broken", {"file": rows.name})


def _rows(frozen: FrozenStore, manifest: Mapping[str, Any], store: Store | None) -> Iterator[Finding]:
    held = [a for a in frozen.answers if a.rows]
    bad = False
    for number in range(len(frozen.answers)):
        try:
            frozen.read(number)
        except WrongInput as error:
            bad = True
            yield Finding(False, "column_broken", {"why": error})
    for number, row in enumerate(manifest["rows"]):
        if number >= len(held) or held[number].sha256 != row["sha256"]:
            bad = True
            yield Finding(False, "rows_differ", {name: row[name] for name in ("kind", "device", "rows")})
    count = sum(a.rows for a in frozen.answers)
    if not bad:
        same = rows_hash(frozen.answers) == manifest["rows_sha256"]
        yield Finding(same, "rows_same" if same else "rows_hash", {"rows": count, "hash": manifest["rows_sha256"]})
    if store is not None:
        yield from _corrected(frozen, store)


def _corrected(frozen: FrozenStore, store: Store) -> Iterator[Finding]:
    """What the store says today beside what was frozen: news, not a fault of the report."""
    for number, a in enumerate(frozen.answers):
        try:
            then = frozen.read(number)
        except WrongInput:
            continue  # told above
        now = store.columns(
            a.kind, a.device, a.fields, a.start_ns, a.stop_ns, a.site,
            gateway=a.gateway, all_revisions=a.all_revisions,
        )  # fmt: skip
        place = _first_difference(a, then, now)
        if place is not None:
            yield Finding(True, "corrected", {"kind": a.kind, "device": a.device, **place})


def _first_difference(answer: Answer, then: Columns, now: Columns) -> dict[str, object] | None:
    """Time, column and both values of the first row that is not the same."""
    count = min(len(then), len(now))
    if len(then) != len(now):
        odd = np.flatnonzero(then.t_ns[:count] != now.t_ns[:count])
        longer = then if len(then) > len(now) else now
        t_ns = int(longer.t_ns[odd[0] if len(odd) else count])
        return {"at": _utc(t_ns), "column": "t_ns", "then": f"{len(then)} rows", "now": f"{len(now)} rows"}
    found = []
    for name in ("t_ns", "rev", *answer.fields):
        old, new = (
            getattr(rows, name) if name in ("t_ns", "rev") else column_of(rows, answer.kind, name)
            for rows in (then, now)
        )
        odd = np.flatnonzero(~((old == new) | ((old != old) & (new != new))))
        if len(odd):
            found.append((int(odd[0]), name, old[odd[0]], new[odd[0]]))
    if not found:
        return None
    i, name, old_value, new_value = min(found, key=lambda item: item[0])
    return {"at": _utc(int(then.t_ns[i])), "column": name, "then": old_value, "now": new_value}


def compared(data: Mapping[str, Any], figures: Sequence[Figure]) -> Finding:
    """Figures of today beside the filed ones; a later version may have more of them."""
    now = {figure.key: json.loads(json.dumps(figure_json(figure))) for figure in figures}
    for filed in data["figures"]:
        seen = now.get(filed["key"])
        if seen is None:
            return Finding(False, "figure_gone", {"key": filed["key"]})
        name = next(
            (
                n
                for n in ("exact", "value", "unit", "factors", "coverage", "shares")
                if filed.get(n) != seen.get(n)
            ),
            None,
        )
        if name is not None:
            return Finding(
                False,
                "figure_differs",
                {"key": filed["key"], "name": name, "filed": filed.get(name), "now": seen.get(name)},
            )
    return Finding(True, "figures_same", {"n": len(data["figures"])})


def same_file(path: Path, made: Issue | RollupIssue, manifest: Mapping[str, Any]) -> Finding:
    """The file itself, byte by byte but for how its attachments are packed, where the same software made it."""
    values = {"file": path.name, "software": manifest["software"]}
    if made.manifest["software"] != manifest["software"]:
        return Finding(True, "file_other_version", values)
    seen = path.read_bytes()
    kind = Format.PDF if seen.startswith(b"%PDF") else Format.JSON
    rendered = [made.render(kind, lang) for lang in LANGS]
    if seen in rendered:
        return Finding(True, "file_same", values)
    try:
        repacked = kind == Format.PDF and packed_here(seen) in rendered
    except ValueError:
        repacked = False
    return Finding(repacked, "file_packed_otherwise" if repacked else "file_differs", values)


def _utc(t_ns: int) -> str:
    return f"{np.datetime64(t_ns // NS, 's')}Z"
