"""The supervisors' page, measured in a browser: 20 clients on 20 devices, scan to pixel, first page, a year.

Beside the year stands what a page without thinning would do: all minutes as JSON, parsed and drawn. Latency is the
age of the scan that a tile shows, in the first frame that shows it; all processes are on one machine, which others
may load. Bars: 5 % of one core, 120 MB, 2 s at p99 with a flush of 0.5 s, 1 s to the first page, 1 s for a year.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, str(Path(__file__).resolve().parent))
from page_bench import PASSWORD, Listener, Shore

from gateway.store import open_store

CLIENTS = 20  # one is the browser
SETTLE_S, MEASURE_S = 10.0, 60.0
MINUTES = 366 * 1440
WATCH = """() => {
  const seen = new Map();
  window.ages = [];
  const look = () => {
    for (const tile of document.querySelectorAll(".tile")) {
      const told = tile.querySelector("time")?.dateTime, name = tile.querySelector("strong").textContent;
      if (!told || seen.get(name) === told) continue;
      const first = !seen.has(name);
      seen.set(name, told);
      if (!first) requestAnimationFrame(() => setTimeout(() => window.ages.push(Date.now() - Date.parse(told))));
    }
  };
  const all = { subtree: true, childList: true, attributes: true, characterData: true };
  new MutationObserver(look).observe(document.querySelector("#main"), all);
  look();
}"""

PRESS = """async (button) => {
  button.click();
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  while ((document.querySelector(".trend .curve path")?.getAttribute("d").length ?? 0) < 9000) await frame();
  await frame();
}"""  # from the press to the frame after the one that has the year's curve


@pytest.fixture(scope="module")
def shore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shore]:
    with Shore(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, shore: Shore) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, locale="fr-FR")
    context.set_default_timeout(60_000)
    opened = context.new_page()
    opened.goto(f"http://127.0.0.1:{shore.port}/login")
    opened.fill("input[name=name]", "anne")
    opened.fill("input[name=password]", PASSWORD)
    opened.click("button")
    opened.wait_for_selector(".tile:not(.stale)")
    yield opened
    context.close()


def load() -> str:
    return f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def test_twenty_clients_on_twenty_devices(
    benchmark: BenchmarkFixture, shore: Shore, page: Page, ratios: Any
) -> None:
    server = psutil.Process(shore.page.child.pid)
    figures: dict[str, float] = {}

    def measure() -> None:
        with ExitStack() as stack:
            listeners = [
                stack.enter_context(closing(Listener(shore.port, shore.token))) for _ in range(CLIENTS - 1)
            ]
            page.wait_for_timeout(1000 * SETTLE_S)
            page.evaluate(WATCH)
            before, began_s = server.cpu_times(), time.monotonic()
            taken = sum(one.taken for one in listeners)
            page.wait_for_timeout(1000 * MEASURE_S)
            after, span_s = server.cpu_times(), time.monotonic() - began_s
            cpu_s = after.user + after.system - before.user - before.system
            figures["share"] = 100.0 * cpu_s / span_s
            figures["rss"] = server.memory_info().rss / 1e6
            figures["kb_s"] = (sum(one.taken for one in listeners) - taken) / (CLIENTS - 1) / span_s / 1e3
            assert all(one.taken for one in listeners)
        ages = np.array(page.evaluate("window.ages"), float) / 1e3
        figures["shown"] = len(ages) / span_s
        figures["p50"], figures["p99"] = np.percentile(ages, [50, 99])

    benchmark.pedantic(measure, rounds=1)
    print(
        f"\n{load()}; {figures['shown']:.1f} changes of a tile per second, {figures['kb_s']:.0f} kB/s per client"
    )
    ratios.add("page: 20 clients, 20 devices, server", "% of a core", figures["share"], aim="5")
    ratios.add("page: server, resident", "MB", figures["rss"], aim="120")
    ratios.add("page: scan to pixel p50", "s", figures["p50"])
    ratios.add("page: scan to pixel p99", "s", figures["p99"], aim="2 s")
    benchmark.extra_info.update(figures)


def test_the_first_page(benchmark: BenchmarkFixture, page: Page, ratios: Any) -> None:
    """From the address to the first lock with its levels, with nothing in the browser's cache."""
    session = page.context.new_cdp_session(page)
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})

    def first() -> None:
        page.goto(page.url, wait_until="commit")
        page.wait_for_selector(".tile:not(.stale) .level")

    benchmark.pedantic(first, rounds=10, warmup_rounds=1)
    print(f"\n{load()}")
    ratios.add("page: first page, median of 10", "s", benchmark.stats.stats.median, aim="1 s")


def fill_a_year(store: Path, device: str, stop_ns: int) -> None:
    """A year of minutes of a meter, past the store's own way in: that is not what is timed."""
    rng = np.random.default_rng(20270601)
    t_ns = stop_ns // 60_000_000_000 * 60_000_000_000 - np.arange(MINUTES, 5, -1) * 60_000_000_000
    power_w = np.abs(rng.normal(8e6, 6e6, len(t_ns)))
    with closing(sqlite3.connect(store, timeout=60.0)) as db:
        (number,) = db.execute(
            "SELECT id FROM series WHERE kind = 'energy_1m' AND device = ?", (device,)
        ).fetchone()
        db.executemany(
            'INSERT OR IGNORE INTO rows_energy_1m ("@series", "@t_ns", import_wh, max_power_w, covered_s)'
            " VALUES (?, ?, ?, ?, 60.0)",
            ((number, t, int(w / 60), w) for t, w in zip(t_ns.tolist(), power_w.tolist(), strict=True)),
        )
        db.commit()


def test_a_year_is_drawn(benchmark: BenchmarkFixture, shore: Shore, page: Page, ratios: Any) -> None:
    """From the button to the curve: a meter's half a million minutes, the peak of each pixel kept."""
    path = shore.folder / "store.db"
    with closing(open_store(f"sqlite:{path}", create=False)) as store:
        end_s = time.monotonic() + 180.0
        while not any(s.kind == "energy_1m" and s.tags["device"] == "meter-1" for s in store.series()):
            assert time.monotonic() < end_s, "no minute of meter-1 within three minutes"
            time.sleep(1.0)
        fill_a_year(path, "meter-1", time.time_ns())
    page.goto(page.url.split("/login")[0].rstrip("/") + "/berth/page-bench/berth-1")
    page.wait_for_selector(".trend .chart")
    year, day = page.locator(".trend button", has_text="1 an"), page.locator(".trend button", has_text="24 h")

    def back() -> None:
        with page.expect_response("**/api/1/history*"):
            day.click()

    def draw() -> None:
        page.evaluate(PRESS, year.element_handle())

    benchmark.pedantic(draw, setup=back, rounds=10, warmup_rounds=1)
    plain_s = plain(page)
    print(f"\n{load()}")
    beside = {"all minutes as JSON": plain_s}
    ratios.add("page: a year drawn, median of 10", "s", benchmark.stats.stats.median, beside, aim="1 s")


def plain(page: Page) -> float:
    """Seconds that the browser takes to make and read the same year as JSON without thinning, and a path of it."""
    return float(
        page.evaluate(f"""() => {{
      const rows = Array.from({{ length: {MINUTES} }}, (_, i) => [i * 60000, Math.random() * 2e7]);
      const text = JSON.stringify(rows), began = performance.now();
      const d = JSON.parse(text).map(([t, w]) => `L${{(t / 4e7).toFixed(1)}} ${{(w / 1e5).toFixed(1)}}`).join("");
      const path = document.querySelector(".trend .curve path");
      path.setAttribute("d", "M0 0" + d);
      path.getBBox();
      return (performance.now() - began) / 1000;
    }}""")
    )
