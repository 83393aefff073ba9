"""Events as sentences: each code of the edge has one in both languages."""

import pytest

from dsp.lock_rules import RULES
from edge import lock_trends, meter
from edge.wire import RowLine, Value
from gateway.events import sentence
from gateway.texts import load_texts

SINGLE = (
    "agent_started", "rows_dropped", "clock_step", "clock_known", "rows_without_time", "spool_refuses",
    "spool_salvaged", "name_taken", *meter.EVENTS.values(), "counter_replaced",
    "counter_replacement_refused", "counter_replacement_too_late", "minutes_revised", "late_rows_not_counted",
    "lock_rules_not_evaluated", "certificate_expires", "doctor_ran",
)  # fmt: skip
LASTING = (
    "register_parts_from_power", "lock_maintenance", *(f"lock_{rule}" for rule in RULES),
    *(f"lock_drift_{code}" for code in lock_trends.LEAST_DRIFT),
)  # fmt: skip
CHECKS = (
    "range", "word_order", "frequency", "balance", "line_voltage", "apparent", "power_factor", "dc_power",
    "energy",
)  # fmt: skip # of drivers/plausible.py


def event(code: str, point: str = "", **fields: Value) -> RowLine:
    return RowLine("event", {"code": code, "point": point}, fields, 1)


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_every_code_of_the_edge_has_its_sentences(lang: str) -> None:
    texts = load_texts(lang)
    told = [sentence(event(code, value=1.0), texts) for code in SINGLE]
    told += [sentence(event("implausible", detail=check), texts) for check in CHECKS]
    told += [sentence(event(code, active=active), texts) for code in LASTING for active in (0, 1)]
    assert len(set(told)) == len(told)
    assert not [text for text in told if "{" in text or text.startswith(("Event ", "Événement "))]


def test_parameters_are_written_in_the_language() -> None:
    row = event("lock_head_at_opening", "gate_up_state", active=1, gate="up", head_m=0.3125, limit=0.1)
    assert sentence(row, load_texts("en")) == "The upstream gate opens with 0.31 m across it; 0.100 m are allowed."
    assert (
        sentence(row, load_texts("fr")) == "La porte amont s'ouvre sous 0,31 m de dénivelée ; 0,100 m sont admis."
    )


def test_in_maintenance_the_sentence_says_so() -> None:
    row = event("lock_gates_opposite_open", "gates", active=1, gate="up down", inhibited=1)
    assert sentence(row, load_texts("en")).endswith("Maintenance: shown only.")


def test_a_missing_parameter_and_an_unknown_code_do_no_harm() -> None:
    texts = load_texts("en")
    told = sentence(event("counter_reset", "p", before_wh=7), texts)
    assert told.startswith("Meter register p began again: 7 Wh, then —")
    told = sentence(event("of_the_future", "p"), texts)
    assert told == "Event of_the_future (p), for which there is no sentence."
