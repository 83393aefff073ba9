"""The sheet to sign: one HTML file without outside parts, French first and English below it."""

import hashlib
import html
from importlib import resources
from pathlib import Path

from firmware_sim.hil.run import Run
from firmware_sim.hil.texts import Texts
from firmware_sim.hil.verdict import FAILED, Result

BOXES = ("tester", "contractor", "owner")


class _Both:
    """A sentence in both languages, as HTML."""

    def __init__(self) -> None:
        self.fr, self.en = Texts("fr"), Texts("en")

    def __call__(self, key: str, **params: object) -> str:
        return pair(self.fr(key, **params), self.en(key, **params))

    def line(self, key: str, **params: object) -> str:
        """On one line, for headings of columns."""
        return pair(self.fr(key, **params), self.en(key, **params), between=" / ")


def pair(french: str, english: str, between: str = "") -> str:
    """French, then English in its own style; once where both are the same."""
    if french == english:
        return html.escape(french)
    return f"{html.escape(french)}{between}<em lang=en>{html.escape(english)}</em>"


def write_sheet(run: Run, path: Path, results_file: Path) -> None:
    """Write the sheet of a run beside its JUnit file, whose checksum it carries. Raises: OSError."""
    both = _Both()
    digest = hashlib.sha256(results_file.read_bytes()).hexdigest()
    style = (resources.files("firmware_sim.hil") / "sheet.css").read_text(encoding="utf-8")
    simulated = run.settings.target.simulated
    parts = [
        "<!doctype html><html lang=fr><meta charset=utf-8>",
        f"<title>{html.escape(run.number)}</title><style>{style}</style>",
        f"<body{' class=simulated' if simulated else ''}>",
        _head(run, both),
        _facts(run, both),
        _verdict(run, both),
        _cases(run, both),
        _limits(run, both),
        _closing(run, both),
        f"<footer>{both('sheet.safety')}",
        f"<p>{both('sheet.trace', file=results_file.name, digest=digest)}</p></footer>",
    ]
    part = path.with_name(path.name + ".part")
    part.write_text("\n".join(parts), encoding="utf-8")
    part.replace(path)


def _head(run: Run, both: _Both) -> str:
    kind = f"sheet.kind_{run.settings.kind}"
    mark = ""
    if run.settings.target.simulated:
        mark = f"<div class=mark><b>SIMULATION</b>{both('sheet.simulation_note')}</div>"
    return (
        f"<header><div><h1>{both('sheet.title')}"
        f"</h1><p class=kind>{both.line(kind)}</p></div>"
        f"<div class=number><span>{both.line('sheet.number')}</span>"
        f"<b>{html.escape(run.number)}</b></div></header>{mark}"
    )


def _facts(run: Run, both: _Both) -> str:
    settings = run.settings
    watched = both("sheet.watched_text", seconds=run.watched_s, scans=run.scans, requests=run.requests)
    facts = [
        (both("sheet.device"), html.escape(settings.device)),
        (both("sheet.address"), html.escape(run.endpoint)),
        (
            both("sheet.profile"),
            f"{html.escape(settings.profile.model)}"
            f"<small>{html.escape(settings.profile_name)} · {settings.profile.hash}</small>",
        ),
        (both("sheet.source"), html.escape(settings.profile.source)),
        (both("sheet.started"), f"{run.started:%Y-%m-%d %H:%M:%S %Z}"),
        (both("sheet.watched"), watched),
        (both("sheet.software"), f"bollard {html.escape(run.version)}"),
        (both("sheet.serial"), "<i class=blank></i>"),
        (both("sheet.site"), "<i class=blank></i>"),
    ]
    if settings.target.simulated:
        facts.append((both("sheet.scenario"), f"{html.escape(settings.scenario)}, × {settings.speed:g}"))
    if run.people.person:
        facts.append((both("sheet.person"), html.escape(run.people.person)))
        facts.append((both("sheet.permit"), html.escape(run.people.permit)))
    if settings.faults:
        names = ", ".join(
            name + "".join(f" {k}={v}" for k, v in options.items()) for name, options in settings.faults
        )
        facts.append((both("sheet.faults"), f"<b>{html.escape(names)}</b>"))
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts) + "</dl>"


def _verdict(run: Run, both: _Both) -> str:
    said = both("sheet.verdict_failed" if run.red else "sheet.verdict_passed")
    counts = both("sheet.counts", **run.counts)
    return f"<p class='verdict {'red' if run.red else 'fine'}'><b>{said}</b><span>{counts}</span></p>"


def _cases(run: Run, both: _Both) -> str:
    names = ("no", "case", "must", "seen", "result")
    rows = [
        "<thead><tr>"
        + "".join(f"<th>{both.line(f'sheet.{name}')}</th>" for name in names)
        + "</tr></thead><tbody>"
    ]
    group = ""
    for result in run.results:
        if result.id.partition("-")[0] != group:
            group = result.id.partition("-")[0]
            rows.append(f"<tr class=group><td colspan=5>{both.line(f'group.{group}')}</td></tr>")
        rows.append(_row(run, result, both))
    return "<table class=cases>" + "".join(rows) + "</tbody></table>"


def _row(run: Run, result: Result, both: _Both) -> str:
    limits = {name: value for name, value, _, _ in run.settings.limits.shown()}
    title = pair(both.fr.title(result.id), both.en.title(result.id))
    if result.subject:
        title += f"<small>{html.escape(result.subject)}</small>"
    must = pair(both.fr.must(result.id, limits), both.en.must(result.id, limits))
    seen = "".join(f"<p>{pair(both.fr.finding(f), both.en.finding(f))}</p>" for f in result.findings)
    detail = result.detail.strip().splitlines()
    if detail:
        seen += f"<p>{html.escape(detail[-1][:300])}</p>"
    outcome = pair(both.fr(f"sheet.{result.outcome}"), both.en(f"sheet.{result.outcome}"))
    return (
        f"<tr class={result.outcome}><td>{result.id}</td><td>{title}</td><td>{must}</td><td>{seen}</td>"
        f"<td><b>{outcome}</b></td></tr>"
    )


def _limits(run: Run, both: _Both) -> str:
    """Only the limits that this run's cases name, and those that were given."""
    used = " ".join(both.en._table["case"][result.id]["must"] for result in run.results)
    cells = []
    for name, value, _, changed in run.settings.limits.shown():
        if changed or f"{{{name}:" in used:
            mark = " class=changed" if changed else ""
            cells.append(f"<span{mark}>{name} = {value:g}{'*' if changed else ''}</span>")
    note = f"<small>* {both.line('sheet.limits_note')}</small>" if any("*" in cell for cell in cells) else ""
    return f"<section><h2>{both.line('sheet.limits')}</h2><p class=limits>{' '.join(cells)}</p>{note}</section>"


def _closing(run: Run, both: _Both) -> str:
    choices = "".join(
        f"<span><i class=box></i>{both.line(f'sheet.{name}')}</span>"
        for name in ("accepted", "with_reserves", "refused")
    )
    failed = ", ".join(result.id for result in run.results if result.outcome == FAILED)
    lines = f"<p class=given>{failed}</p>" if failed else ""
    boxes = "".join(
        f"<div><b>{both.line(f'sheet.{who}')}</b>"
        + "".join(f"<p><span>{both.line(f'sheet.{what}')}</span></p>" for what in ("name", "date"))
        + f"<p class=tall><span>{both.line('sheet.signature')}</span></p></div>"
        for who in BOXES
    )
    return (
        f"<section class=closing><h2>{both.line('sheet.reserves')}</h2><div class=lines>{lines}</div>"
        f"<p class=alone>{both('sheet.other_agent')}<i class=blank></i></p>"
        f"<p class=decision><b>{both.line('sheet.decision')}</b>{choices}</p>"
        f"<div class=signatures>{boxes}</div></section>"
    )
