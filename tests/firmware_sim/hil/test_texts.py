"""French and English have the same keys with the same values, and every key that a case uses is there."""

import re
import string
import tomllib
from typing import Any

import pytest
from conftest import ROOT

from firmware_sim.hil.limits import Limits
from firmware_sim.hil.texts import Texts
from firmware_sim.hil.verdict import Finding

KIT = ROOT / "firmware_sim" / "hil"
SAYS = re.compile(r'\b(?:saw|fail|not_evaluated|require|_never)\(\s*(?:[^"]*?,\s*)?f?"([a-z_0-9{}]+)"', re.DOTALL)


def flat(table: dict[str, Any], path: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


@pytest.fixture(scope="module")
def both() -> dict[str, dict[str, str]]:
    return {lang: flat(tomllib.loads((KIT / "text" / f"{lang}.toml").read_text())) for lang in ("fr", "en")}


def values_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys_and_values(both: dict[str, dict[str, str]]) -> None:
    assert both["fr"].keys() == both["en"].keys()
    apart = [key for key in both["fr"] if values_in(both["fr"][key]) != values_in(both["en"][key])]
    assert apart == []


def test_every_case_has_its_texts_and_every_text_its_case() -> None:
    marked = set()
    for file in (KIT / "cases").glob("*.py"):
        marked |= set(re.findall(r'@case\("([A-Z]{3}-\d\d)"\)', file.read_text()))
    assert marked | {"OWN-01"} == set(Texts("fr").cases())


def test_every_finding_has_its_sentence(both: dict[str, dict[str, str]]) -> None:
    used = {
        key for file in (KIT / "cases").glob("*.py") for key in SAYS.findall(file.read_text()) if "{" not in key
    }
    assert len(used) > 80
    assert {key for key in used if f"saw.{key}" not in both["fr"]} == set()


def test_requirements_name_limits_that_exist() -> None:
    limits = {name: value for name, value, _, _ in Limits().shown()}
    for lang in ("fr", "en"):
        texts = Texts(lang)
        assert all(texts.must(case, limits) for case in texts.cases())


def test_french_writes_a_decimal_comma() -> None:
    finding = Finding("fall", {"up": 21.6, "down": 16.7, "fall": 4.9})
    assert Texts("fr").finding(finding) == "amont 21,60 m, aval 16,70 m : chute 4,90 m"
    assert Texts("en").finding(finding) == "upper 21.60 m, lower 16.70 m: fall 4.90 m"
