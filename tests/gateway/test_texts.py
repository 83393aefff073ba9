"""Sentences, numbers and dates in both languages."""

import string
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from gateway.texts import load_texts

FR, EN = load_texts("fr"), load_texts("en")
PARIS = ZoneInfo("Europe/Paris")


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def test_both_languages_have_the_same_keys_and_placeholders() -> None:
    assert FR._sentences.keys() == EN._sentences.keys()
    for key, sentence in FR._sentences.items():
        assert placeholders(sentence) == placeholders(EN._sentences[key]), key


def test_numbers_follow_the_language() -> None:
    assert FR.number(Fraction(1_234_567_891, 1000), 3) == "1\u202f234\u202f567,891"
    assert EN.number(Fraction(1_234_567_891, 1000), 3) == "1,234,567.891"
    assert FR.number(-5) == "\u22125"
    assert FR.quantity(Fraction(26), "kg", 1) == "26,0\u00a0kg"


def test_a_negative_number_that_rounds_to_nothing_has_no_sign() -> None:
    assert EN.number(Fraction(-1, 1000), 1) == "0.0"


def test_numbers_are_exact_where_floats_are_not() -> None:
    assert EN.number(Fraction(2**60 + 1), 0) == "1,152,921,504,606,846,977"
    assert [EN.number(Fraction(n, 10)) for n in (5, 15, 25)] == ["0", "2", "2"]  # half to even


def test_a_share_reads_100_percent_only_when_it_is_whole() -> None:
    assert EN.percent(Fraction(1)) == "100.0%"
    assert EN.percent(Fraction(999_999_999, 1_000_000_000), 2) == "99.99%"
    assert FR.percent(Fraction(1, 10**9)) == "<\u00a00,1\u202f%"
    assert EN.percent(Fraction(0)) == "0.0%"


def test_a_factor_shows_all_its_decimals() -> None:
    assert [FR.factor(Fraction(text)) for text in ("52", "3.206", "0.00018")] == ["52,0", "3,206", "0,00018"]


def test_the_repeated_hour_says_which_of_both_it_is() -> None:
    first_ns = 1_792_888_200 * 10**9  # 2026-10-25T00:30Z, 02:30 in summer time
    assert FR.instant(first_ns, PARIS) == "25/10/2026 02:30 UTC+02"
    assert FR.instant(first_ns + 3600 * 10**9, PARIS) == "25/10/2026 02:30 UTC+01"
    assert EN.instant(first_ns + 7200 * 10**9, PARIS) == "2026-10-25 03:30"


def test_durations_and_months() -> None:
    assert [FR.duration(s) for s in (5, 65, 3600, 90_000)] == [
        "5\u00a0s", "1\u00a0min 5\u00a0s", "1\u00a0h 0\u00a0min", "1\u00a0j 1\u00a0h",
    ]  # fmt: skip
    assert FR.month(2026, 8) == "août 2026" and EN.month(2026, 8) == "August 2026"


def test_an_unknown_language_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'de' is not one of fr, en"):
        load_texts("de")
