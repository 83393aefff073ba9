"""The terminal's table."""

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from firmware_sim.hil.run import Run
from firmware_sim.hil.texts import Texts
from firmware_sim.hil.verdict import ERROR, FAILED, NOT_EVALUATED, PASSED, Result

STYLES = {PASSED: "green", FAILED: "bold red", NOT_EVALUATED: "yellow", ERROR: "bold magenta"}


def print_table(run: Run, texts: Texts, console: Console) -> None:
    """All cases with what was seen, red ones in red, and one line that counts them."""
    table = Table(title=_title(run, texts), title_justify="left", show_lines=False, pad_edge=False, box=None)
    table.add_column(texts("sheet.no"), no_wrap=True)
    table.add_column(texts("sheet.case"), ratio=3)
    table.add_column(texts("sheet.seen"), ratio=5)
    table.add_column(texts("sheet.result"), no_wrap=True)
    for result in run.results:
        style = STYLES[result.outcome]
        seen = "\n".join(texts.finding(finding) for finding in result.findings) or _last_line(result)
        title = texts.title(result.id) + (f" · {result.subject}" if result.subject else "")
        table.add_row(
            result.id, Text(title), Text(seen, style="" if result.outcome == PASSED else style),
            Text(texts(f"sheet.{result.outcome}"), style=style),
        )  # fmt: skip
    verdict = texts("sheet.verdict_failed" if run.red else "sheet.verdict_passed")
    counts = texts("sheet.counts", **run.counts)
    console.print(
        Group(
            table,
            Text(f"\n{verdict}{texts('sheet.colon')}{counts}", style="bold red" if run.red else "bold green"),
        )
    )


def _title(run: Run, texts: Texts) -> Text:
    kind = texts(f"sheet.kind_{run.settings.kind}")
    title = Text(f"{texts('sheet.title')}{texts('sheet.colon')}{kind} {run.settings.device}, {run.endpoint}")
    if run.settings.target.simulated:
        title.append(f"  [{texts('sheet.simulation')}]", style="bold black on yellow")
    return title


def _last_line(result: Result) -> str:
    lines = [line for line in result.detail.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
