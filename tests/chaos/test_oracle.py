"""The oracle finds what it is there to find, and a plan can be had again."""

from chaos import oracle, plan
from chaos.journal import Journal, Sealed
from shore import GATEWAY, SPOOL, T, minute, row

from edge.spool import Tally
from edge.wire import RowLine, decode_row, encode_row
from gateway.book import Refused

ROWS = [row(T + n, power_w=float(n), state=n) for n in range(4)] + [minute(0, 0, 7)]


def line(made: RowLine) -> str:
    return encode_row(made.kind, made.tags, made.fields, made.t_ns)


def journal(rows: list[RowLine], tally: Tally, dropped: tuple[int, ...] = (), missing: int = 0) -> Journal:
    sealed = [Sealed(line(made), False, 1, i in dropped) for i, made in enumerate(rows)]
    return Journal(SPOOL, sealed, tally, None, missing)


def held(rows: list[RowLine]) -> dict[oracle.Key, oracle.Fields]:
    return {oracle.key_of(decode_row(line(made))): dict(made.fields) for made in rows}


def test_stored_refused_and_dropped_rows_are_all_there_is() -> None:
    refused = [Refused("demo-port", GATEWAY, SPOOL, 1, 1, line(ROWS[1]), "a reason")]
    made = oracle.judge_ledger(GATEWAY, journal(ROWS, Tally(5, 3, 1, 1), dropped=(0,)), held(ROWS[2:]), refused)
    assert (made.sealed, made.stored, made.refused, made.dropped) == (5, 3, 1, 1)
    assert (made.lost, made.doubled, made.complaints) == (0, 0, [])


def test_a_lost_row_is_found() -> None:
    made = oracle.judge_ledger(GATEWAY, journal(ROWS, Tally(5, 5, 0, 0)), held(ROWS[1:]), [])
    assert made.lost == 1 and "rows lost: 1" in made.complaints[0]


def test_a_row_with_another_value_is_lost() -> None:
    changed = [*ROWS[:4], minute(0, 0, 8)]
    made = oracle.judge_ledger(GATEWAY, journal(ROWS, Tally(5, 5, 0, 0)), held(changed), [])
    assert made.lost == 1 and "rows stored with other values: 1" in made.complaints[0]


def test_a_row_that_was_never_sealed_is_found() -> None:
    made = oracle.judge_ledger(GATEWAY, journal(ROWS[:4], Tally(4, 4, 0, 0)), held(ROWS), [])
    assert made.doubled == 1 and "never sealed: 1" in made.complaints[0]


def test_a_row_that_was_sealed_twice_is_found() -> None:
    made = oracle.judge_ledger(GATEWAY, journal([*ROWS, ROWS[0]], Tally(6, 6, 0, 0)), held(ROWS), [])
    assert made.doubled == 1 and "sealed twice" in made.complaints[0]


def test_books_that_do_not_fit_are_found() -> None:
    for tally, missing in ((Tally(6, 6, 0, 0), 0), (Tally(5, 4, 0, 0), 0), (Tally(5, 5, 0, 0), 1)):
        made = oracle.judge_ledger(GATEWAY, journal(ROWS, tally, missing=missing), held(ROWS), [])
        assert made.complaints and not made.lost


def test_a_minute_that_is_covered_though_nobody_polled_is_found() -> None:
    at_ns = oracle.MINUTE_NS * 30_000_000
    covered = row(at_ns, "energy_1m", "meter-1", {"rev": "0"}, import_wh=1, covered_s=60.0)
    made = oracle.Verdict(GATEWAY)
    oracle.judge_coverage(made, held([covered]), ["meter-1"], [(at_ns - 10**11, at_ns + 10**9)])
    assert "minutes covered while nobody polled: 1" in made.complaints[0]


def test_a_seed_gives_the_same_plan_with_every_kind_of_fault() -> None:
    faults = plan.draw(7, 500)
    assert faults == plan.draw(7, 500) != plan.draw(8, 500)
    assert len(faults) == 500 and {fault.kind for fault in faults[: len(plan.KINDS)]} == set(plan.BY_NAME)
