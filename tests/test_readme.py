"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CASES = ROOT / "tests" / "cases" / "bad_site_files"


@pytest.mark.parametrize("name", ["unknown_key", "overlapping_points", "wrong_profile_name"])
def test_a_wrong_site_file_is_told_as_the_readme_shows(name: str) -> None:
    shown = re.search(rf"\$ bollard edge check --site {name}\.toml\n(.*?)\n```", README, re.DOTALL)
    assert shown is not None
    command = [sys.executable, "-m", "edge.cli", "check", "--site", f"{name}.toml"]
    done = subprocess.run(command, cwd=CASES, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == shown[1].strip()


def test_the_readmes_site_file_is_a_good_one(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (site,) = [block for block in blocks if "[broker]" in block]
    path = tmp_path / "site.toml"
    path.write_text(re.sub(r"^   ", "", site, flags=re.MULTILINE))
    done = subprocess.run(
        [sys.executable, "-m", "edge.cli", "check", "--site", str(path), "--lang", "en"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "meter-1: meter" in done.stdout


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))], ids=lambda p: str(p.parent.name)
)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
