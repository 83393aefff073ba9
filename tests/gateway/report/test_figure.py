"""Figures: each has a key of its own, leads to inputs and rows, and names a formula that people can read."""

from fractions import Fraction
from typing import Any

import pytest

from gateway.report.figure import Figure, Shares, by_key, key_of
from gateway.report.model import build
from gateway.texts import load_texts

pytestmark = pytest.mark.usefixtures("demo")


def test_a_key_names_its_quantity_and_its_place() -> None:
    assert key_of("energy.import_wh", meter="quai_1") == "energy.import_wh/meter=quai_1"
    assert key_of("register.opening_wh", meter="m", epoch=2) == "register.opening_wh/meter=m,epoch=2"
    assert key_of("calls.count") == "calls.count"


def test_shares_add_up_to_one_or_are_unknown() -> None:
    shares = Shares.of(6, 3, 1)
    assert shares == Shares(Fraction(3, 5), Fraction(3, 10), Fraction(1, 10))
    assert Shares.of(0, 0, 0) is None


def test_two_figures_never_share_a_key() -> None:
    figure = Figure("calls.count", 1, "count", "site", "count")
    with pytest.raises(ValueError, match=r"share a key: calls\.count"):
        by_key((figure, figure))


def test_every_figure_leads_to_inputs_and_rows(demo: Any) -> None:
    report = build(demo.store, demo.book, "2026-10", "demo-port")
    figures = by_key(report.figures())
    for figure in figures.values():
        assert set(figure.inputs) <= set(figures), figure.key
        assert figure.inputs or figure.rows, f"{figure.key} stands on nothing"
        assert load_texts("fr").template(f"report.formula.{figure.formula}"), figure.formula
    total = figures["energy.import_wh"]
    assert total.value == report.import_wh == figures["energy.import_wh/meter=meter-1"].value
    assert total.shares is not None and total.shares.estimated > 0
    assert figures["co2.net_kg/baseline=aux.mgo.sfoc.epa"].value == (
        figures["co2.grid_calls_kg/baseline=aux.mgo.sfoc.epa"].value
        - figures["co2.avoided_kg/baseline=aux.mgo.sfoc.epa"].value
    )


def test_figures_keep_their_order(demo: Any) -> None:
    first, second = (build(demo.store, demo.book, "2026-10", "demo-port").figures() for _ in range(2))
    assert first == second
