"""The page in a real browser, on a running port-day: what a supervisor sees and does."""

import re
from typing import Any

import pytest
from conftest import peers
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.chromium, pytest.mark.xdist_group("page")]
expect.set_options(timeout=60_000)
LOCK = "/lock/port-day/lock-1"


def test_the_overview_shows_every_lock_and_berth_in_the_site_files_order(sign_in: Any) -> None:
    page = sign_in("anne")
    expect(page.locator(".tile strong")).to_have_text(["lock-1", "lock-2", "berth-1", "berth-2", "berth-3"])
    expect(page.locator(".tile.stale")).to_have_count(0)
    expect(page.locator(".simulation")).to_contain_text("SIMULATION")
    expect(page.locator("footer")).to_contain_text("n'assure aucune fonction de sécurité")


def test_a_lock_moves_with_its_data(sign_in: Any) -> None:
    page = sign_in("anne", LOCK)
    level = page.locator(".synoptic .level").first
    expect(level).to_have_text(re.compile(r"\d+,\d\d\sm"))
    expect(page.locator("section.facts .fact", has_text="Mode")).to_contain_text("téléconduite")
    expect(page.locator("section.rules, div.columns").last).to_be_visible()
    expect(page.locator(".trend .chart path").first).to_be_attached()
    with page.expect_download() as download:
        page.locator(".trend a.button").click()
    assert download.value.path().read_text().startswith("time_utc,level_upstream_m")


def test_a_berth_says_power_against_limit_and_what_is_only_indicative(sign_in: Any) -> None:
    page = sign_in("anne", "/berth/port-day/berth-1")
    expect(page.locator("section.facts")).to_contain_text("limite")
    expect(page.locator("section.facts")).to_contain_text("indicatif")


def test_a_battery_that_is_seen_shows_its_interval_beside_the_bmss_and_the_time_against_the_departure(
    sign_in: Any, port: Any
) -> None:
    """port-day's towers feed AC: the estimate is told here as a gateway with a DC tower would tell it."""
    port.tell_charge("bms-2", soc=0.61, soc_low=0.58, soc_high=0.64, target_soc=0.9, to_target_s=600.0)
    port.write_call("berth-2", leaves_in_s=3600)
    page = sign_in("anne", "/berth/port-day/berth-2")
    facts = page.locator("section.facts")
    expect(facts).to_contain_text(re.compile(r"61\s%"))
    expect(facts).to_contain_text(re.compile(r"de 58\s% à 64\s%"))
    expect(facts.locator(".fact", has_text="Charge selon le BMS")).to_be_visible()
    expect(facts.locator(".fact", has_text="Temps jusqu'à la cible")).to_contain_text("10 min")
    expect(facts.locator(".fact", has_text="Départ prévu")).to_contain_text("cible atteinte")


def test_the_same_in_english_at_night_on_a_tablet(sign_in: Any) -> None:
    page = sign_in("anne", LOCK, lang="en", width=800, dark=True)
    expect(page.locator("section.facts .fact", has_text="Mode")).to_contain_text("remote")
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", back)[:3])) < 60
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_alarm_with_two_people_at_once(sign_in: Any, port: Any) -> None:
    anne, bruno = sign_in("anne", "/alarms"), sign_in("bruno", "/alarms", lang="en")
    port.fault("lock-green-light-gate-closed", "on", "lock-1")
    try:
        row = anne.locator("table.alarms tbody tr", has_text="lock-1").first
        expect(row).to_be_visible()
        theirs = bruno.locator("table.alarms tbody tr", has_text="lock-1").first
        expect(theirs).to_contain_text("active")
        bruno_button = theirs.get_by_role("button", name="Take note in bollard")
        bruno_button.click()
        row.get_by_role("button", name="Prendre en compte dans bollard").click()
        anne.fill("dialog textarea", "vu, équipe prévenue")
        anne.locator("dialog button[type=submit]").click()
        expect(row).to_contain_text("anne")
        bruno.locator("dialog button[type=submit]").click()
        expect(bruno.locator("dialog .wrong")).to_contain_text("anne has taken note already")
        bruno.locator("dialog button[type=button]").click()
        expect(theirs).to_contain_text("vu, équipe prévenue")
        expect(anne.locator("table.journal")).to_contain_text("anne")
    finally:
        port.fault("lock-green-light-gate-closed", "off", "lock-1")


def test_tiles_never_move_and_keep_the_focus_while_values_change(sign_in: Any, port: Any) -> None:
    page: Page = sign_in("anne")
    expect(page.locator(".tile.stale")).to_have_count(0)
    tile = page.locator(".tile.berth").first
    place = "tile => [tile.offsetLeft, tile.offsetTop]"
    where = tile.evaluate(place)
    tile.focus()
    shown = tile.locator("time").get_attribute("datetime")
    expect(tile.locator("time")).not_to_have_attribute("datetime", shown)
    expect(tile).to_be_focused()
    port.fault("lock-green-light-gate-closed", "on", "lock-2")
    try:
        expect(page.locator(".strip li", has_text="lock-2")).to_be_visible()
        assert tile.evaluate(place) == where
    finally:
        port.fault("lock-green-light-gate-closed", "off", "lock-2")


def test_without_its_database_the_page_says_so_and_what_is_live_goes_on(sign_in: Any) -> None:
    page = sign_in("anne")
    refused = {
        "status": 503,
        "content_type": "application/json",
        "body": '{"error": "the database does not answer"}',
    }
    for path in ("history", "lockages", "trends", "plc-alarms"):
        page.route(re.compile(rf"/api/1/{path}\?"), lambda route: route.fulfill(**refused))
    page.locator(".tile.lock").first.click()
    for part in ("section.lockages", "section.health", "section.plc", "section.trend"):
        expect(page.locator(part)).to_contain_text("La base de données ne répond pas")
    shown = page.locator("section.head time").get_attribute("datetime")
    expect(page.locator("section.head time")).not_to_have_attribute("datetime", shown)


def test_a_lock_shows_the_plcs_journal_the_months_teleoperation_and_rules_that_are_not_fed(sign_in: Any) -> None:
    page = sign_in("anne", LOCK)
    expect(page.locator("section.plc")).to_contain_text("bit")
    expect(page.locator("section.month .fact", has_text="Téléconduite disponible")).to_contain_text("%")
    expect(page.locator("section.rules")).to_contain_text("section des vantelles non déclarée")
    expect(page.locator("header button").first).to_have_text("Son : coupé")


def test_a_viewer_has_nothing_to_press(sign_in: Any) -> None:
    page = sign_in("vera", "/alarms")
    expect(page.locator("h1")).to_be_visible()
    assert page.locator("table.alarms button").count() == 0
    assert page.locator("a", has_text="Traçabilité").count() == 0


def test_keyboard_alone_reaches_a_lock_and_the_alarms(sign_in: Any) -> None:
    page: Page = sign_in("anne")
    expect(page.locator(".tile").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('a.tile.lock')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("lock-1")


@pytest.mark.npm
@pytest.mark.parametrize("path", ["/", LOCK, "/berth/port-day/berth-1", "/alarms", "/reports"])
def test_axe_finds_nothing_serious(sign_in: Any, path: str) -> None:
    page = sign_in("anne", path, dark=path == "/alarms")
    folder = peers()
    assert folder is not None
    page.wait_for_selector("h1")
    page.evaluate((folder / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")
    serious = [
        (v["id"], [n["html"][:120] for n in v["nodes"]][:3])
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_a_dead_agent_makes_all_it_said_look_old_at_once(sign_in: Any, port: Any) -> None:
    page = sign_in("anne")
    expect(page.locator(".tile.stale")).to_have_count(0)
    port.agent.kill()
    expect(page.locator(".tile.stale")).to_have_count(5)
    expect(page.locator(".tile .age").first).to_contain_text("DONNÉES ANCIENNES")
    expect(page.locator(".strip")).to_contain_text("hors ligne")
    port.agent = port.start_agent()
    expect(page.locator(".tile.stale")).to_have_count(0, timeout=180_000)


def test_a_server_that_starts_again_is_told_and_comes_back_by_itself(sign_in: Any, port: Any) -> None:
    page = sign_in("anne")
    expect(page.locator(".tile").first).to_be_visible()
    port.server.kill()
    expect(page.locator(".banners")).to_contain_text("Liaison avec le serveur perdue")
    port.server = port.start_server()
    expect(page.locator(".banners .fault")).to_have_count(0)
    expect(page.locator(".tile.stale")).to_have_count(0)


def test_signing_out_ends_what_is_shown(sign_in: Any) -> None:
    page = sign_in("bruno")
    page.locator("form button").click()
    expect(page.locator("input[name=password]")).to_be_visible()
    page.go_back()
    expect(page.locator("input[name=password]")).to_be_visible()
