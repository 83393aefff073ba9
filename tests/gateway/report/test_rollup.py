"""Half-years, years and groups of sites against sums made here, in exact numbers."""

import csv
import hashlib
import io
import json
import tomllib
from collections.abc import Sequence
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import lock_rows as lr
import pytest
from lock_rows import NS

from edge.wire import Catalogue, RowLine, Value
from gateway.config import ShoreSettings, parse_shore
from gateway.errors import ConfigError
from gateway.perimeter import Company, Operator, Perimeter, Port
from gateway.report.errors import NoData, WrongInput
from gateway.report.figure import by_key
from gateway.report.frozen import encoded
from gateway.report.html import html_of
from gateway.report.issue import Format, entry, issue, rows_name
from gateway.report.markdown import markdown_of
from gateway.report.model import build
from gateway.report.options import Options
from gateway.report.period import Period
from gateway.report.publish import dictionary_csv, open_csv, open_figures
from gateway.report.rollup import Rollup, roll_up
from gateway.report.rollup_cli import chosen_sites, see_that_it_is_final
from gateway.report.rollup_issue import RollupIssue
from gateway.report.sections_rollup import compose_rollup
from gateway.report.trace_rollup import trace_rollup
from gateway.report.verify import read_report
from gateway.report.verify_rollup import verify_rollup
from gateway.report.words import PeriodWords
from gateway.texts import load_texts

MINUTE_NS = 60 * NS
HALF = Period.parse("2026-H2", "Europe/Paris")
PERIMETER = Perimeter(
    ports=(Port(name="calais", sites=("east", "west")),),
    operators=(
        Operator(name="regie", kind="own", sites=("east",)),
        Operator(name="tidewater", kind="contracted", sites=("west",)),
    ),
    companies=(Company(name="northline", vessels=("aurelie", "belle")),),
)


def site(port: Any, name: str, zone: str = "Europe/Paris") -> None:
    meter = {"role": "delivery", "parent": None, "serial": "1", "accuracy_class": "0.2S"}
    settings = {
        "site": {"name": name, "gateway": "gw", "timezone": zone},
        "device": [{"name": "meter-1", "meter": meter, "lock": None}, {"name": "charger-1"}],
        "berth": [{"name": "berth-1", "charger": "charger-1", "meter": "meter-1", "use": "berth_supply",
                   "baseline": "aux.mgo.sfoc.epa"}],
    }  # fmt: skip
    port.book.put_catalogue(Catalogue(name, "gw", name, settings, ()))


def row(port: Any, kind: str, site: str, device: str, t_ns: int, fields: dict[str, Value], **tags: str) -> None:
    base = {"site": site, "gateway": "gw", "device": device, "origin": "sim", "rev": "0"}
    assert port.store.write([RowLine(kind, base | tags, fields, t_ns)], {}) == []


def minute(port: Any, site: str, t_ns: int, wh: int) -> None:
    fields: dict[str, Value] = {
        "import_wh": wh, "export_wh": 1, "covered_s": 60.0, "measured_wh": wh + 1, "integrated_wh": 0,
        "estimated_wh": 0, "register_import_wh": wh, "register_export_wh": 1, "register_t_ns": t_ns, "epoch": 0,
    }  # fmt: skip
    row(port, "energy_1m", site, "meter-1", t_ns, fields)


def call(port: Any, site: str, start_ns: int, vessel: str, wh: int | None) -> None:
    fields: dict[str, Value] = {
        "start_ns": start_ns,
        "end_ns": start_ns + MINUTE_NS,
        "berth": "berth-1",
        "meter": "meter-1",
    }
    fields |= {} if wh is None else {"energy_wh": wh}
    row(port, "session", site, "charger-1", start_ns, fields, vessel=vessel)


@pytest.fixture(name="two")
def _two(port: Any) -> Any:
    """Two sites over a half-year; the west has no row in November and December."""
    for name in ("east", "west"):
        site(port, name)
    for i, month in enumerate(HALF.months):
        minute(port, "east", month.start_ns, 1000 + i)
        call(port, "east", month.start_ns, "aurelie", 500 + i)
        if month.month < 11:
            minute(port, "west", month.start_ns + MINUTE_NS, 70_000 + i)
            call(port, "west", month.start_ns, "estran", None)
    return port


def half(port: Any, *sites: str, period: str = "2026-H2") -> Rollup:
    return roll_up(port.store, port.book, period, sites or ("east", "west"), PERIMETER)


def test_every_sum_is_that_of_the_months(two: Any) -> None:
    found = by_key(half(two).figures())
    east, west = sum(1000 + i for i in range(6)), sum(70_000 + i for i in range(4))
    assert found["energy.import_wh"].value == east + west
    assert found["energy.import_wh/site=east"].value == east
    assert found["energy.import_wh/port=calais"].value == east + west
    assert found["energy.import_wh/operator=tidewater"].value == west
    assert found["energy.import_wh/month=2026-11"].value == 1004
    assert found["energy.import_wh/site=west,month=2026-08"].value == 70_001
    assert found["energy.export_wh"].value == 10
    assert found["calls.count"].value == 10
    assert found["co2.grid_site_kg"].value == Fraction(52 * (east + west), 10**6)


def test_the_months_reports_say_the_same(two: Any) -> None:
    sums = by_key(half(two).figures())
    for month in HALF.months:
        for figure in build(two.store, two.book, str(month), "east").figures():
            key = figure.key if "/" in figure.key else f"{figure.key}/"
            summed = sums.get(f"{key.replace('/', f'/site=east,month={month},', 1).rstrip(',')}")
            assert summed is None or summed.value == figure.value, figure.key
    assert sum("site=east,month=2026-07" in key for key in sums) >= 6


def test_the_year_before_stands_beside_as_far_as_it_was_measured(two: Any) -> None:
    for i, month in enumerate(HALF.year_before().months[:2]):
        minute(two, "east", month.start_ns, 300 + i)
    found = by_key(half(two).figures())
    before = found["energy.import_year_before_wh/site=east"]
    assert (before.value, before.coverage) == (601, Fraction(2 * 60, HALF.seconds))
    assert found["energy.import_year_before_wh/month=2026-08"].value == 301
    assert found["energy.import_year_before_wh/site=west"].value is None


def test_coverage_counts_a_missing_month_as_not_covered(two: Any) -> None:
    found = half(two)
    covered = Fraction(10 * 60, 2 * HALF.seconds)
    assert found.coverage == by_key(found.figures())["energy.import_wh"].coverage == covered
    assert [(s.site, str(s.month)) for s in found.missing] == [("west", "2026-11"), ("west", "2026-12")]
    assert not found.complete
    calls = by_key(found.figures())["calls.count"]
    assert calls.coverage == 1 - Fraction(61 * 86_400, 2 * HALF.seconds)


def test_companies_have_their_calls_and_are_closed(two: Any) -> None:
    found = by_key(half(two).figures())
    assert found["company.calls/company=northline"].value == 6
    assert found["company.energy_wh/company=northline"].value == sum(500 + i for i in range(6))
    assert found["company.energy_wh/company=unknown"].value is None  # its calls have no energy
    assert found["company.calls/company=unknown"].value == 4
    assert not any(f.open for key, f in found.items() if key.startswith("company."))


def test_locks_are_reckoned_over_the_whole_period(port: Any) -> None:
    for name, lasted in (("canal-a", [600, 700, 800]), ("canal-b", [900])):
        port.book.put_catalogue(lr.catalogue(site=name))
        for month, seconds in zip(HALF.months, lasted, strict=False):
            fields: dict[str, Value] = {
                "end_ns": month.start_ns + seconds * NS, "direction": "up", "vessel_seen": 1, "complete": 1,
                "volume_m3": 8000.0, "energy_wh": 3000,
            }  # fmt: skip
            row(port, "lock_cycle", name, lr.LOCK, month.start_ns, fields)
    june = HALF.before().months[-1].start_ns
    before: dict[str, Value] = {"end_ns": june + 650 * NS, "direction": "up", "vessel_seen": 1, "complete": 1}
    row(port, "lock_cycle", "canal-a", lr.LOCK, june, before)
    hour = [HALF.months[1].start_ns + i * MINUTE_NS for i in range(61)]
    lr.write(port.store, hour, site="canal-a", mode=1)
    lr.write(port.store, hour, site="canal-b", mode=0)
    rollup = half(port, "canal-a", "canal-b")
    found = by_key(rollup.figures())
    assert found["lock.total/lock=canal-a.lock-1"].value == 3
    assert found["lock.cycle_mean_s/lock=canal-a.lock-1,direction=up"].value == 700
    assert found["lock.cycle_p95_s/lock=canal-a.lock-1,direction=up"].value == 800
    assert found["lock.cycle_change_previous_s/lock=canal-a.lock-1,direction=up"].value == 50
    assert found["lock.water_drawn_m3/lock=canal-a.lock-1"].value == 24_000
    assert found["lock.scheduled_s/lock=canal-a.lock-1"].value == HALF.seconds
    assert (found["locks.count"].value, found["locks.remote_count"].value) == (2, 1)
    assert found["locks.remote_share"].value == found["locks.remote_share/month=2026-08"].value == Fraction(1, 2)
    assert found["locks.remote_share/month=2026-09"].value is None
    assert rollup.complete is False and not rollup.metered


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_a_roll_up_says_what_it_lacks_and_leaves_no_place_open(two: Any, lang: str) -> None:
    document = compose_rollup(half(two), load_texts(lang))
    text, html = markdown_of(document), html_of(document).split("</style>")[1]
    for shown in (text, html):
        assert "{" not in shown and "}" not in shown and "None" not in shown
    plain = text.replace("\u202f", " ")
    missing = {"fr": "west, novembre 2026 : aucune ligne", "en": "west, November 2026: no row"}[lang]
    assert missing in plain and "SIMULATION" in text
    title = {"fr": "east, west, semestre 2 de 2026", "en": "east, west, half 2 of 2026"}[lang]
    assert title in plain
    figures = half(two).figures()
    assert all(load_texts(lang).template(f"report.formula.{f.formula}") for f in figures)


def test_a_roll_up_is_compared_with_the_targets_of_its_group(two: Any) -> None:
    options = Options(
        targets="figure,perimeter,year,value,unit,source\n"
        "calls.count,canal,2026,20,count,plan\ncalls.count,elsewhere,2026,1,count,plan\n"
    )
    rollup = roll_up(two.store, two.book, "2026", ("east", "west"), PERIMETER, "canal", options)
    found = by_key(rollup.figures())
    assert found["target.value/line=2"].value == 20
    assert found["target.deviation/line=2"].value is None  # months are missing
    assert "target.value/line=3" not in found
    assert "Objectifs et trajectoires" in markdown_of(compose_rollup(rollup, load_texts("fr")))


def test_a_period_without_any_row_is_no_report(two: Any) -> None:
    with pytest.raises(NoData, match=r"east, west has no row in 2024-H1"):
        half(two, period="2024-H1")


@pytest.mark.parametrize("period", ["2026-H3", "2026-h2", "H2", "2026-13", "26", ""])
def test_what_is_no_period_is_refused_with_an_example(two: Any, period: str) -> None:
    with pytest.raises(WrongInput, match="give one as in 2026-10, 2026-H2 or 2026"):
        half(two, period=period)


def test_an_unknown_site_is_refused(two: Any) -> None:
    with pytest.raises(WrongInput, match=r"site 'nowhere' has no rows in the store; sites there: east, west"):
        half(two, "east", "nowhere")


def test_periods_have_their_months() -> None:
    year = Period.parse("2026", "Europe/Paris")
    assert (str(year), len(year.months), year.seconds) == ("2026", 12, 365 * 86_400)
    assert [str(m) for m in HALF.months] == [f"2026-{m:02d}" for m in range(7, 13)]
    assert (str(HALF), str(HALF.before()), str(HALF.year_before())) == ("2026-H2", "2026-H1", "2025-H2")
    assert str(Period.parse("2026-01", "Europe/Paris").before()) == "2025-12"
    assert HALF.seconds == 184 * 86_400 + 3600  # the clocks go back in October


@pytest.mark.parametrize(("now", "month"), [("2026-11-01T00:30", "2026-10"), ("2026-01-31T12:00", "2025-12")])
def test_the_last_month_is_that_of_the_sites_own_calendar(paris_ns: Any, now: str, month: str) -> None:
    assert str(Period.last_month(paris_ns(now), "Europe/Paris")) == month


# Files, and what of them may be published.


def lines(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_the_json_follows_its_published_schema(two: Any) -> None:
    schema = json.loads(resources.files("gateway").joinpath("schema/rollup.schema.json").read_text("utf-8"))
    data = json.loads(RollupIssue(half(two)).json)
    jsonschema_rs.validator_for(schema).validate(data)
    assert (data["period"], data["sites"], data["complete"]) == ("2026-H2", ["east", "west"], False)
    assert data["missing"] == [{"site": "west", "month": "2026-11"}, {"site": "west", "month": "2026-12"}]


def file_all(port: Any, folder: Path, months: Sequence[str] = ("2026-08", "2026-09")) -> None:
    """The final reports of these months, of both sites."""
    for name in ("east", "west"):
        for month in months:
            made = issue(port.store, port.book, month, name, folder / rows_name(name, month))
            port.book.file_report(entry(made, 1))


def refused(port: Any, rollup: Rollup, now_ns: int) -> str:
    with pytest.raises(WrongInput) as error:
        see_that_it_is_final(rollup, port.book, now_ns)
    return str(error.value)


def test_a_roll_up_is_final_when_all_its_months_are(two: Any, tmp_path: Path) -> None:
    august = half(two, period="2026-08")
    after_ns = august.period.stop_ns
    assert "2026-08 is not over" in refused(two, august, after_ns - 1)
    assert "east 2026-08 has no final report yet; make it: bollard report 2026-08" in refused(
        two, august, after_ns
    )
    file_all(two, tmp_path)
    see_that_it_is_final(august, two.book, after_ns)
    made = RollupIssue(august, final=True)
    assert made.manifest["status"] == "final" and "définitif" in made.render(Format.MD, "fr").decode()
    assert [m["site"] for m in made.manifest["months"]] == ["east", "west"]
    assert "west has no row in 2026-12" in refused(two, half(two), HALF.stop_ns)
    minute(two, "east", august.period.start_ns, 999)
    changed = refused(two, half(two, period="2026-08"), after_ns)
    assert (
        "east 2026-08 was filed with other rows or other figures" in changed and "west 2026-08 was" not in changed
    )


@pytest.fixture(name="filed")
def _filed(two: Any, tmp_path: Path) -> Path:
    """A final roll-up of August, with the frozen rows of its months beside it."""
    file_all(two, tmp_path)
    file = tmp_path / "rollup.json"
    options = Options(targets="figure,perimeter,year,value,unit,source\ncalls.count,canal,2026,20,count,plan\n")
    rollup = roll_up(two.store, two.book, "2026-08", ("east", "west"), PERIMETER, "canal", options)
    file.write_bytes(RollupIssue(rollup, final=True).json)
    return file


def wrong(file: Path, data: Any = None) -> list[str]:
    """What does not agree."""
    return [f.code for f in verify_rollup(file, read_report(file) if data is None else data) if not f.ok]


def test_a_filed_roll_up_is_reckoned_again_from_the_frozen_rows_of_its_months(filed: Path) -> None:
    data = read_report(filed)
    said = [f.code for f in verify_rollup(filed, data)]
    assert said == ["month_same", "month_same", "figures_same", "file_same"]
    rows = filed.with_name(rows_name("east", "2026-08"))
    rows.write_bytes(filed.with_name(rows_name("east", "2026-09")).read_bytes())
    assert wrong(filed)[0] in ("month_differs", "column_broken")
    rows.write_bytes(filed.with_name(rows_name("west", "2026-08")).read_bytes())
    assert wrong(filed)[0] in ("month_differs", "column_broken")
    rows.unlink()
    assert wrong(filed) == ["month_missing"]


@pytest.mark.parametrize(
    "key",
    ["energy.import_wh/site=west,month=2026-08", "calls.count/port=calais", "calls.count/operator=regie",
     "company.energy_wh/company=northline", "target.deviation/line=2"],
)  # fmt: skip
def test_every_changed_figure_of_a_filed_roll_up_is_found(filed: Path, key: str) -> None:
    data = read_report(filed)
    figure = next(f for f in data["figures"] if f["key"] == key)
    figure["value"] += 1
    figure |= {"exact": "999"} if "exact" in figure else {}
    assert wrong(filed, data) == ["figures_hash", "figure_differs"]


def test_a_roll_up_that_does_not_say_what_it_was_given_is_refused(filed: Path) -> None:
    data = read_report(filed)
    del data["manifest"]["given"]
    with pytest.raises(WrongInput, match=r"manifest\.given is missing"):
        verify_rollup(filed, data)


def test_a_roll_up_whose_hash_was_made_to_fit_is_still_found(filed: Path) -> None:
    def fitted(figures: list[Any], **more: Any) -> list[str]:
        data = read_report(filed)
        data |= {"figures": figures} | more
        data["manifest"]["figures_sha256"] = hashlib.sha256(encoded(figures)).hexdigest()
        filed.with_name("other.json").write_text(json.dumps(data))
        return wrong(filed.with_name("other.json"))

    figures = read_report(filed)["figures"]
    assert fitted(figures[1:]) == ["figure_missing"]
    assert fitted([*figures, figures[0] | {"key": "energy.free_wh"}]) == ["figure_gone"]
    assert fitted([*figures[:-1], figures[-1] | {"formula": "guess"}]) == ["file_differs"]
    assert fitted(figures, coverage=1.0) == ["file_differs"]
    assert "months_odd" in fitted(figures, sites=["east", "west", "north"])


def test_locks_of_a_filed_roll_up_are_reckoned_again(port: Any, tmp_path: Path) -> None:
    """The period before is in no month's frozen rows: its mean is the manifest's."""
    port.book.put_catalogue(lr.catalogue(site="canal-a"))
    july, august = HALF.months[:2]
    for start_ns, lasted_s in ((july.start_ns, 650), (august.start_ns, 700)):
        fields: dict[str, Value] = {
            "end_ns": start_ns + lasted_s * NS, "direction": "up", "vessel_seen": 1, "complete": 1,
        }  # fmt: skip
        row(port, "lock_cycle", "canal-a", lr.LOCK, start_ns, fields)
    issue(port.store, port.book, str(august), "canal-a", tmp_path / rows_name("canal-a", str(august)))
    file = tmp_path / "rollup.json"
    rollup = roll_up(port.store, port.book, str(august), ["canal-a"], PERIMETER)
    file.write_bytes(RollupIssue(rollup, final=True).json)
    data = read_report(file)
    assert all(f.ok for f in verify_rollup(file, data))
    key = "lock.cycle_change_previous_s/lock=canal-a.lock-1,direction=up"
    assert by_key(rollup.figures())[key].value == 50
    next(f for f in data["figures"] if f["key"] == key)["value"] += 1
    assert wrong(file, data) == ["figures_hash", "figure_differs"]


def test_the_months_of_a_filed_roll_up_lie_in_their_sites_own_time_zones(port: Any, tmp_path: Path) -> None:
    for name, zone in (("east", "Europe/Paris"), ("west", "Africa/Abidjan")):  # its October has no hour twice
        site(port, name, zone)
        minute(port, name, Period.parse("2026-10", zone).stop_ns - MINUTE_NS, 1000)
    file_all(port, tmp_path, ["2026-10"])
    file = tmp_path / "rollup.json"
    file.write_bytes(RollupIssue(half(port, period="2026-10"), final=True).json)
    assert all(f.ok for f in verify_rollup(file, read_report(file)))


def test_another_version_may_reckon_other_figures_of_a_month(two: Any, tmp_path: Path) -> None:
    file_all(two, tmp_path)
    file = tmp_path / "rollup.json"
    file.write_bytes(RollupIssue(half(two, period="2026-08"), final=True).json)
    data = read_report(file)
    data["manifest"] |= {"software": "bollard 0.0.9"}
    data["manifest"]["months"][0]["figures_sha256"] = "0" * 64
    assert [f.code for f in verify_rollup(file, data)][:2] == ["month_same", "month_same"]


def test_a_figure_leads_to_the_months_reports(two: Any) -> None:
    rollup = half(two)
    words = PeriodWords(rollup, load_texts("en"))
    lines = list(trace_rollup(rollup, "energy.import_wh/site=west", words))
    assert lines[0] == "energy.import_wh/site=west = 280006 Wh"
    on = "bollard report trace energy.import_wh --site west --month 2026-07"
    assert "  energy.import_wh/site=west,month=2026-07 = 70000 Wh" in lines
    assert f"    of the report of west, 2026-07; on from there: {on}" in lines
    calls = "\n".join(trace_rollup(rollup, "company.calls/company=northline", words, whole=True))
    assert calls.count("bollard report trace ship.calls/vessel=aurelie") == 6
    with pytest.raises(WrongInput, match=r"in east, west 2026-H2; near it: energy\.import_wh"):
        list(trace_rollup(rollup, "energy.imported", words))


@pytest.mark.parametrize("kind", [Format.XLSX, Format.PDF])
def test_other_formats_come_from_the_same_renderers(two: Any, kind: Format) -> None:
    issue = RollupIssue(half(two, "east", period="2026-10"))
    assert issue.render(kind, "fr").startswith({Format.XLSX: b"PK", Format.PDF: b"%PDF"}[kind])
    assert issue.name(kind, "fr") == f"rollup-east-2026-10.fr.{kind}"


def test_what_is_closed_is_not_published(two: Any) -> None:
    rollup = half(two)
    figures, held = open_figures(rollup, ["energy.export_wh*"], vessels=1)
    keys = {f.key for f in figures}
    assert held == [] and "energy.import_wh" in keys and "calls.count/site=east" in keys
    assert not any(key.startswith(("company.", "energy.export_wh")) for key in keys)
    assert {line["origin"] for line in lines(open_csv(rollup, figures))} == {"SIMULATION"}


def test_calls_of_too_few_vessels_are_held_back_in_the_whole_cut(two: Any) -> None:
    month = HALF.months[0].start_ns
    for i, vessel in enumerate(("belle", "cap")):
        call(two, "east", month + (i + 5) * MINUTE_NS, vessel, 5)
    figures, held = open_figures(half(two), [], vessels=3)
    keys = {f.key for f in figures}
    assert "calls.count" in keys  # four vessels in all
    assert "calls.count/site=west" in held  # one vessel
    assert "calls.count/site=east" in held  # three, but with the total it would tell the west's
    assert "energy.import_wh/site=west" in keys
    written = lines(dictionary_csv(half(two), figures, held))
    assert {line["name"] for line in written if line["kind"] == "withheld"} == set(held)


def test_the_dictionary_explains_every_column_and_name(two: Any) -> None:
    rollup = half(two)
    figures, held = open_figures(rollup, [], vessels=3)
    series = lines(open_csv(rollup, figures))
    about = {(line["kind"], line["name"]): line for line in lines(dictionary_csv(rollup, figures, held))}
    for column in series[0]:
        assert about["column", column]["fr"] and about["column", column]["en"]
    for line in series:
        found = about["figure", line["name"]]
        assert found["fr"] and found["en"] and found["unit"] == line["unit"]
    assert len(series) == len(figures)


def shore(*parts: str) -> ShoreSettings:
    text = "\n".join(['schema = 1\n[store]\nurl = "sqlite:store.db"', *parts])
    return parse_shore(tomllib.loads(text), Path("shore.toml"))


GROUP = '[[group]]\nname = "canal"\nsites = ["east", "west"]'


def test_a_group_names_its_sites() -> None:
    assert chosen_sites(shore(GROUP), (), "canal") == ("canal", ("east", "west"))
    assert chosen_sites(shore(), ("east",), None) == ("east", ("east",))


@pytest.mark.parametrize(
    ("sites", "group", "message"),
    [
        ((), "nord", r"group 'nord' is not in the shore file; groups there: canal"),
        ((), None, r"give --site NAME, also several times, or --group NAME"),
        (("east",), "canal", "give either --site or --group, not both"),
        (("east", "west", "east"), None, "--site east stands twice"),
    ],
)
def test_a_wrong_choice_gets_one_sentence(sites: tuple[str, ...], group: str | None, message: str) -> None:
    with pytest.raises(WrongInput, match=message):
        chosen_sites(shore(GROUP), sites, group)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[[group]]\nname = "canal"\nsites = []', r"group\[0\].sites: .* at least 1 item"),
        ('[[port]]\nname = "a"\nsites = ["x"]\n[[port]]\nname = "b"\nsites = ["x"]', "'x' stands in two of them"),
        ('[[operator]]\nname = "a"\nsite = ["x"]', r"operator\[0\].site.*use one of kind, name, sites"),
        ('[report]\ntarget = "x.csv"', "report.target = 'x.csv'.*use one of closed, contracts, .*grid_intensity"),
    ],
)
def test_a_wrong_table_of_the_shore_file_is_told(table: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shore(table)
