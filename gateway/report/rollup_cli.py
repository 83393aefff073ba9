"""Several months or sites on the command line: which they are, and the files of their roll-up."""

from collections.abc import Sequence
from pathlib import Path

from gateway.book import Book
from gateway.config import ShoreSettings
from gateway.report.errors import WrongInput
from gateway.report.issue import Format
from gateway.report.options import Options
from gateway.report.publish import dictionary_csv, open_csv, open_figures
from gateway.report.rollup import Rollup, Slice, roll_up
from gateway.report.rollup_issue import RollupIssue
from gateway.store import Store


def chosen_sites(shore: ShoreSettings, sites: Sequence[str], group: str | None) -> tuple[str, tuple[str, ...]]:
    """Name and sites of what is to be reported. Raises: WrongInput."""
    if group is None:
        if not sites:
            raise WrongInput("give --site NAME, also several times, or --group NAME of the shore file")
        twice = sorted({s for s in sites if list(sites).count(s) > 1})
        if twice:
            raise WrongInput(f"--site {twice[0]} stands twice; it would be counted twice: leave one out")
        return ", ".join(sites), tuple(sites)
    if sites:
        raise WrongInput("give either --site or --group, not both")
    found = shore.perimeter.group(group)
    if found is None:
        known = ", ".join(g.name for g in shore.group) or "none"
        raise WrongInput(f"group {group!r} is not in the shore file; groups there: {known}. Add [[group]]")
    return found.name, found.sites


def rolled_up(
    store: Store, book: Book, shore: ShoreSettings, period: str, sites: Sequence[str], group: str | None,
    options: Options,
) -> Rollup:  # fmt: skip
    """Raises: WrongInput, NoData."""
    name, chosen = chosen_sites(shore, sites, group)
    return roll_up(store, book, period, chosen, shore.perimeter, name, options)


def rollup_files(rollup: Rollup, lang: str, kinds: Sequence[Format], final: bool = False) -> dict[str, bytes]:
    """File name -> content. The ships' connections are those of the months, in their own reports."""
    issue = RollupIssue(rollup, final)
    return {issue.name(kind, lang): issue.render(kind, lang) for kind in kinds if kind != Format.SHIPS}


def open_files(rollup: Rollup, shore: ShoreSettings) -> tuple[dict[str, bytes], list[str]]:
    """The open series and its dictionary by file name, and the figures that are held back."""
    figures, held = open_figures(rollup, shore.report.closed, shore.report.open_vessels)
    stem = f"open-{rollup.name.replace(', ', '+')}-{rollup.period}"
    files = {
        f"{stem}.csv": open_csv(rollup, figures),
        f"{stem}-dictionary.csv": dictionary_csv(rollup, figures, held),
    }
    return files, held


def not_whole(rollup: Rollup) -> list[str]:
    """What a roll-up lacks, a sentence each; none: it is complete."""
    said = [f"{s.site} has no row in {s.month}: the totals are without it" for s in rollup.missing]
    thin = [s for s in rollup.slices if not s.missing and not s.complete]
    said += [f"{s.site} in {s.month} is not complete; see the report of that month" for s in thin]
    return said


def see_that_it_is_final(rollup: Rollup, book: Book, now_ns: int) -> None:
    """Raises: WrongInput if a month's report is not final, or no longer says what it said when it was filed."""
    if rollup.period.stop_ns > now_ns:
        raise WrongInput(
            f"{rollup.period} is not over: only what can no longer grow can be final; leave out --final"
        )
    lacks = [why for s in rollup.slices if (why := _not_final(s, book))]
    if lacks:
        raise WrongInput("\n".join([f"{rollup.name} {rollup.period} cannot be final:", *lacks]))


def _not_final(month: Slice, book: Book) -> str:
    """Why this month of a site stands in the way, if it does."""
    site, when = month.site, str(month.month)
    if month.missing:
        return f"{site} has no row in {when}, so it has no report; leave out --final"
    filed = [issue for issue in book.filed(site, when) if issue.status == "final"]
    if not filed:
        return f"{site} {when} has no final report yet; make it: bollard report {when} --site {site} --final"
    if not any(month.is_of(issue) for issue in filed):
        return (
            f"{site} {when} was filed with other rows or other figures; give the same factors and options,"
            f" or file it anew in another folder: bollard report {when} --site {site} --final --out FOLDER"
        )
    return ""


def write_all(files: dict[str, bytes], out: Path) -> list[Path]:
    """Each file appears under its name only when it is whole."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in files.items():
        part = out / f"{name}.part"
        part.write_bytes(content)
        written.append(part.replace(out / name))
    return written
