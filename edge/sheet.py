"""The commissioning sheet: one record (JSON), and the same as Markdown and HTML in French and English."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge.commissioned import write_whole
from edge.commissioning import Looked
from edge.config import LoadedSite, MeterConfig
from edge.doctor_line import Line
from edge.texts import LANGS, Texts
from edge.watch_view import number

METER_KEYS = {"serial", "role", "ct_ratio", "vt_ratio", "registers", "wiring", "accuracy_class"}
CSS = (
    "body{font:14px/1.45 sans-serif;max-width:52em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;"
    "width:100%;margin:1em 0}td,th{border:1px solid #999;padding:.25em .5em;text-align:left}th{background:#eee}"
    ".bad{font-weight:bold}@media print{body{margin:0}}"
)


def record_of(
    loaded: LoadedSite, looked: Looked, doctor: Sequence[Line], by: str, at: str, version: str
) -> dict[str, Any]:
    """All of a sheet for a program. `verdict`: signed, unsigned (nobody has), incomplete or wrong."""
    device, meter, site = looked.device, looked.device.meter or MeterConfig(), loaded.site.site
    verdict = "wrong" if looked.wrong else "incomplete" if looked.incomplete else "signed" if by else "unsigned"
    return {
        "schema": 1, "stage": looked.stage, "verdict": verdict, "by": by if verdict == "signed" else "", "at": at,
        "site": site.name, "gateway": site.gateway, "timezone": site.timezone, "site_file": loaded.hash,
        "bollard": version, "device": device.name, "kind": looked.profile.kind, "origin": device.origin,
        "model": looked.profile.model, "profile": device.profile, "profile_hash": looked.profile.hash,
        "source": looked.profile.source, "caveats": list(looked.profile.caveats), "where": looked.where,
        "meter": meter.model_dump(
            mode="json", include=METER_KEYS
        ) if looked.profile.kind == "meter" else None,
        "bus_load": looked.load, "through_agent": looked.through is not None,
        "seconds": looked.seconds, "rows": looked.rows,
        "readings": [_finite(asdict(a)) for a in looked.agreements],
        "findings": [_finite(asdict(f)) for f in looked.findings],
        "implausible": [_finite(asdict(d)) for d in looked.doubts],
        "missing": looked.missing,
        "doctor": [_finite(asdict(line)) for line in doctor],
    }  # fmt: skip


def _finite(value: Any) -> Any:
    """JSON has no NaN: unknown is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_sheet(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """The record and its four sheets. Returns: their paths, the record first. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromisoformat(record["at"]).strftime("%Y%m%dT%H%M%SZ")
    stem = f"{record['device']}-{record['stage'].replace('_', '-')}-{stamp}"
    contents = {f"{stem}.json": json.dumps(record, indent=2, ensure_ascii=False) + "\n"}
    for lang in LANGS:
        parts = parts_of(record, Texts(lang))
        contents |= {f"{stem}.{lang}.md": as_markdown(parts), f"{stem}.{lang}.html": as_html(parts, lang)}
    for name, text in contents.items():
        write_whole(folder / name, text.encode())
    return [folder / name for name in contents]


@dataclass(frozen=True, slots=True)
class Part:
    """A heading with a paragraph, and a table where `rows` are."""

    heading: str
    text: str = ""
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def parts_of(record: Mapping[str, Any], texts: Texts) -> list[Part]:
    """A sheet, from its title to its signature."""
    t = texts
    at = (
        datetime.fromisoformat(record["at"]).astimezone(ZoneInfo(record["timezone"])).strftime("%Y-%m-%d %H:%M %Z")
    )
    title = t(f"sheet.title_{record['stage']}", device=record["device"], site=record["site"])
    parts = [Part(title, t(f"sheet.verdict_{record['verdict']}", by=record["by"], at=at))]
    if record["origin"] != "real":
        parts.append(Part("", t("sheet.simulation", origin=record["origin"])))
    facts = [
        (t("sheet.gateway"), record["gateway"]), (t("sheet.model"), record["model"]),
        (t("sheet.profile"), f"{record['profile']} ({record['profile_hash']})"),
        (t("sheet.where"), record["where"]),
        (t("sheet.load"), t("sheet.percent", share=100 * record["bus_load"])), (t("sheet.at"), at),
        (t("sheet.watched"), t("sheet.rows", seconds=record["seconds"], rows=record["rows"])),
    ]  # fmt: skip
    meter = record["meter"]
    if meter is not None:
        ratios = t(f"sheet.{meter['registers']}", ct=meter["ct_ratio"], vt=meter["vt_ratio"])
        facts += [(t("sheet.serial"), meter["serial"] or "—"), (t("sheet.ratios"), ratios)]
        facts += [(t("sheet.class"), meter["accuracy_class"] or "—"), (t("sheet.wiring"), meter["wiring"])]
    facts += [(t("sheet.caveat"), caveat) for caveat in record["caveats"]]
    parts.append(Part(t("sheet.subject"), "", (t("sheet.what"), t("sheet.value")), tuple(facts)))
    parts.append(
        Part(
            t("sheet.readings"),
            t("sheet.not_read", points=", ".join(record["missing"])) if record["missing"] else "",
            (t("sheet.point"), t("sheet.display"), t("sheet.register"), t("sheet.judgement")),
            tuple((a["point"], a["typed"]["text"], _value(a, t), reading_text(a, t)) for a in record["readings"]),
        )
    )
    shown = [*(finding_text(f, t) for f in record["findings"]), *(doubt_text(d, t) for d in record["implausible"])]
    if shown:
        rows = tuple((_mark(good, t), text) for good, text in shown)
        parts.append(Part(t("sheet.findings"), "", (t("sheet.judgement"), t("sheet.what")), rows))
    lines = [Line(d["check"], d["subject"], d["state"], d["key"], d["values"]) for d in record["doctor"]]
    if lines:
        rows = tuple((t(f"doctor.state_{x.state}"), f"{x.text(t)} {x.remedy(t)}".strip()) for x in lines)
        parts.append(Part(t("sheet.doctor"), "", (t("sheet.judgement"), t("sheet.what")), rows))
    parts.append(Part(t("sheet.signature"), t("sheet.signature_lines", by=record["by"] or "……………", at=at)))
    parts.append(Part("", t("sheet.made_by", version=record["bollard"])))
    return parts


def _mark(good: bool | None, texts: Texts) -> str:
    return texts("sheet.open" if good is None else "sheet.good" if good else "sheet.bad")


def _value(agreement: Mapping[str, Any], texts: Texts) -> str:
    last = agreement["seen"]["last"]
    return "—" if last is None else f"{number(last, texts)} {agreement['unit']}".strip()


def reading_text(agreement: Mapping[str, Any], texts: Texts) -> str:
    """What a comparison says, in a sentence."""
    values = dict(agreement["values"])
    if "why" in values:
        values["why"] = texts(f"quality.{values['why']}") if values["why"] else "—"
    return texts(f"reading.{agreement['code']}", point=agreement["point"], **values)


def finding_text(finding: Mapping[str, Any], texts: Texts) -> tuple[bool | None, str]:
    good = finding["good"]
    key = f"finding.{finding['code']}{'_open' if good is None else ''}"
    values = {name: math.nan if value is None else value for name, value in finding["values"].items()}
    values = {"phase": "", "cosines": "—"} | values
    return good, texts(key, **{name: _shown(value, texts) for name, value in values.items()})


def doubt_text(doubt: Mapping[str, Any], texts: Texts) -> tuple[bool, str]:
    values = {key: math.nan if doubt[key] is None else doubt[key] for key in ("value", "low", "high")}
    shown = {key: _shown(value, texts) for key, value in values.items()}
    return False, texts(
        "finding.implausible", check=texts(f"check.{doubt['check']}"), point=doubt["point"], **shown
    )


def _shown(value: Any, texts: Texts) -> str:
    if isinstance(value, float):
        return "?" if math.isnan(value) else number(value, texts)
    return str(value)


def as_markdown(parts: Sequence[Part]) -> str:
    blocks = []
    for i, part in enumerate(parts):
        if part.heading:
            blocks.append(f"{'#' if i == 0 else '##'} {part.heading}")
        if part.text:
            blocks.append(part.text)
        if part.rows:
            lines = [part.header, tuple("---" for _ in part.header), *part.rows]
            blocks.append("\n".join(_line(cells) for cells in lines))
    return "\n\n".join(blocks) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def as_html(parts: Sequence[Part], lang: str) -> str:
    """One file without anything from outside: it has to open in ten years."""
    body = []
    for i, part in enumerate(parts):
        if part.heading:
            body.append(f"<h{1 + bool(i)}>{html.escape(part.heading)}</h{1 + bool(i)}>")
        if part.text:
            body.append(f"<p>{html.escape(part.text).replace(chr(10), '<br>')}</p>")
        if part.rows:
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in part.header)
            rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in part.rows)
            body.append(f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
    return (
        f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{html.escape(parts[0].heading)}'
        f"</title><style>{CSS}</style></head><body>{''.join(body)}</body></html>\n"
    )
