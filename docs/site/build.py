"""The documentation as a site: every Markdown file of the project, where it is, with what it links to.

A copy is made first, since mkdocs wants all of it below one folder; so links work there as they do in a clone.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "docs"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)")
API = """# API

What other programs may call. Units are in names; `raises` says what goes wrong.

"""
MODULES = {
    "The wire: batches, receipts, catalogues": ["edge.wire"],
    "Energy": ["dsp.counter", "dsp.integrate", "dsp.energy", "dsp.bins", "dsp.rollup", "dsp.crosscheck"],
    "Calls and lockages": ["dsp.session", "dsp.lock_cycle", "dsp.lock_rules", "dsp.lock_hydraulics"],
    "State of charge": ["dsp.cell", "dsp.soc"],
    "Reading devices": ["drivers.profile", "drivers.plan", "drivers.row"],
    "Stores": ["gateway.store.base"],
}


def main() -> None:
    shutil.rmtree(BUILD, ignore_errors=True)
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    pages = [Path(name) for name in tracked]
    for page in pages:
        copy(page)
        for target in LINK.findall((ROOT / page).read_text(encoding="utf-8")):
            beside = (ROOT / page).parent / target
            if "://" not in target and beside.is_file() and beside.suffix != ".md":
                copy(beside.resolve().relative_to(ROOT))
    lines = [API]
    for title, modules in MODULES.items():
        lines += [f"## {title}\n\n", *(f"::: {module}\n\n" for module in modules)]
    (BUILD / "src" / "docs" / "api.md").write_text("".join(lines), encoding="utf-8")
    config = ROOT / "docs" / "site" / "mkdocs.yml"
    os.environ["NO_MKDOCS_2_WARNING"] = "1"  # the theme speaks of another program's future, at each start
    sys.exit(subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", config]).returncode)


def copy(path: Path) -> None:
    target = BUILD / "src" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / path, target)


if __name__ == "__main__":
    main()
