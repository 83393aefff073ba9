"""Does a filed roll-up still follow from the frozen rows of its months? They lie beside it, as they were filed.

Its ports, operators, companies, targets and mean cycle times of the period before are in no row of its months:
they are taken as its manifest gives them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from gateway.book import Book
from gateway.perimeter import Perimeter
from gateway.report.errors import WrongInput
from gateway.report.frozen import FrozenStore, encoded, rows_hash
from gateway.report.issue import rows_name
from gateway.report.lockages import CYCLES, MeanTime
from gateway.report.month import Month
from gateway.report.options import Options
from gateway.report.period import Period
from gateway.report.rollup import Rollup, Slice, lock_names, month_of, over
from gateway.report.rollup_issue import RollupIssue
from gateway.report.source import site_settings
from gateway.report.targets import parse_targets
from gateway.report.verify import Finding, compared, same_file
from gateway.store.base import Store


def verify_rollup(file: Path, data: Mapping[str, Any]) -> list[Finding]:
    """Reckon each month from its frozen rows, and all figures from the months. Raises: WrongInput, OSError."""
    findings, slices = list(_manifest(data)), []
    for month in data["manifest"]["months"]:
        where = {"site": month["site"], "month": month["month"]}
        rows = file.with_name(rows_name(**where))
        if not rows.exists():
            findings.append(Finding(False, "month_missing", {"file": rows.name, **where}))
            continue
        try:
            frozen = FrozenStore(rows)
            when = Month.parse(month["month"], site_settings(frozen.catalogues(month["site"]))["timezone"])
            found = month_of(cast(Store, frozen), cast(Book, frozen), month["site"], when, frozen.options)
        except WrongInput as error:
            findings.append(Finding(False, "column_broken", {"why": error}))
            continue
        said = {"rows_sha256": rows_hash(frozen.answers)}
        if _made_here(data):  # another version may have other figures
            said["figures_sha256"] = found.figures_sha256
        odd = next((name for name, digest in said.items() if digest != month[name]), None)
        code = "month_same" if odd is None else "month_differs"
        findings.append(Finding(odd is None, code, {**where, "name": odd}))
        slices.append(found)
    if slices and len(slices) == len(data["manifest"]["months"]):
        findings += _figures(file, data, slices)
    return findings


def _made_here(data: Mapping[str, Any]) -> bool:
    return bool(data["manifest"]["software"] == f"bollard {version('bollard')}")


def _manifest(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Is it of these figures, and does it name every month?"""
    manifest = data["manifest"]
    if hashlib.sha256(encoded(data["figures"])).hexdigest() != manifest["figures_sha256"]:
        yield Finding(False, "figures_hash", {"hash": manifest["figures_sha256"]})
    months = [str(month) for month in Period.parse(data["period"], data["timezone"]).months]
    named = [(m["site"], m["month"]) for m in manifest["months"]]
    if named != [(site, month) for site in data["sites"] for month in months]:
        yield Finding(False, "months_odd", {})


def _figures(file: Path, data: Mapping[str, Any], slices: Sequence[Slice]) -> Iterator[Finding]:
    manifest = data["manifest"]
    try:
        rollup = _again(data, slices)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WrongInput(
            f"{file}: manifest.given is missing or not as `bollard report` writes it ({error!r});"
            " give the file as it was filed, or make the roll-up anew"
        ) from error
    made = RollupIssue(rollup, manifest["status"] == "final")
    figures = made.rollup.figures()
    filed = {figure["key"] for figure in data["figures"]}
    missing = next((f for f in figures if f.key not in filed), None)
    if missing is not None and _made_here(data):
        yield Finding(False, "figure_missing", {"key": missing.key, "now": missing.value})
        return
    found = compared(data, figures)
    yield found
    if found.ok:
        made.manifest["options"] = manifest["options"]  # the months' own say with what they were reckoned
        yield same_file(file, made, manifest)


def _again(data: Mapping[str, Any], slices: Sequence[Slice]) -> Rollup:
    """The same roll-up of months that have just been reckoned again."""
    given, locks = data["manifest"]["given"], []
    for site in dict.fromkeys(s.site for s in slices):
        months = [s for s in slices if s.site == site]
        for lock in lock_names(months):
            told = given["cycle_means_before_s"].get(f"{site}.{lock}", {})
            before = {way: MeanTime(Fraction(told[way]) if told.get(way) else None) for way in CYCLES}
            locks.append(over(months, lock, before))
    options = Options(targets=given["targets"])
    return Rollup(
        data["name"], Period.parse(data["period"], slices[0].month.timezone),
        Perimeter.model_validate(given["perimeter"]), tuple(slices), tuple(locks),
        parse_targets(options.targets) if options.targets else (), options,
    )  # fmt: skip
