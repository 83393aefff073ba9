"""A running port-day behind the page: simulator, agent, ingest, `bollard serve`, and a real browser."""

import contextlib
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from paho.mqtt.publish import single
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from processes import Process, free_port, free_ports

from edge.wire import Header, body_of, crc32, encode_batch, encode_row, topic
from gateway.book import Book
from gateway.journal import NewEntry
from gateway.web.clock import WebClock

EPOCH_NS = 1_811_829_600_000_000_000  # 2027-06-01 06:00 UTC: two locks, three berths, ships come and go
SPEED = 20.0
PASSWORD = "a long enough one"
COMMAND_S = 180.0  # a command that takes longer hangs
TEST_S = 900.0  # so does a browser: closing it, its downloads and its scripts have no deadline of their own
SHORE = """
schema = 1
[store]
url = "sqlite:store.db"
[broker]
embedded = true
port = {port}
"""
SERVE = """
schema = 1
[store]
url = "sqlite:store.db"
[broker]
port = {port}
"""


class Port:
    """The processes of a simulated port, each of which may be ended and started again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.clock = folder / "clock.json"
        self.control = free_port()
        broker = self.broker = free_port()
        (folder / "shore.toml").write_text(SHORE.format(port=broker))
        (folder / "serve.toml").write_text(SERVE.format(port=broker))
        told = {"epoch_ns": EPOCH_NS, "speed": SPEED, "origin_monotonic_ns": time.monotonic_ns()}
        self.clock.write_text(json.dumps(told))
        base = free_ports(16)
        sim = ["python", "-m", "firmware_sim.cli", "run", "port-day", "--sim-clock", str(self.clock)]
        self._start([*sim, "--port-base", str(base), "--control-port", str(self.control)])
        site = subprocess.run(
            [sys.executable, "-m", "firmware_sim.cli", "site", "port-day", "--port-base", str(base)],
            capture_output=True, text=True, check=True, timeout=COMMAND_S,
        ).stdout  # fmt: skip
        (folder / "site.toml").write_text(site.replace("[broker]\n", f"[broker]\nport = {broker}\n", 1))
        self._start(["python", "-m", "gateway.ingest_cli", "--shore", str(folder / "shore.toml")])
        self.agent = self.start_agent()
        for name, role in (("chef", "admin"), ("anne", "supervisor"), ("bruno", "supervisor"), ("vera", "viewer")):
            self.user("add", name, "--role", role)
        self.port = free_port()
        self.server = self.start_server()

    def _start(self, command: list[str]) -> Process:
        return self._stack.enter_context(Process(command, timeout_s=180.0))

    def start_agent(self) -> Process:
        site = str(self.folder / "site.toml")
        return self._start(["python", "-m", "edge.cli", "run", "--site", site, "--sim-clock", str(self.clock)])

    def start_server(self) -> Process:
        shore = str(self.folder / "serve.toml")
        command = ["python", "-m", "gateway.cli", "serve", "--shore", shore, "--port", str(self.port)]
        return self._start([*command, "--sim-clock", str(self.clock)])

    def user(self, *words: str) -> None:
        command = [sys.executable, "-m", "gateway.cli", "user", *words, "--shore", str(self.folder / "serve.toml")]
        command += ["--password-stdin"] if words[0] == "add" else []
        subprocess.run(
            command, input=PASSWORD + "\n", text=True, check=True, capture_output=True, timeout=COMMAND_S
        )

    def fault(self, name: str, turn: str, device: str, *options: str) -> None:
        more = [part for option in options for part in ("--option", option)]
        subprocess.run(
            [sys.executable, "-m", "firmware_sim.cli", "fault", name, turn, "--device", device, *more,
             "--control-port", str(self.control)],
            check=True, capture_output=True, timeout=COMMAND_S,
        )  # fmt: skip

    def now_ns(self) -> int:
        return WebClock(self.clock).now_ns()

    def tell_charge(self, device: str, **fields: float) -> None:
        """A row of `soc` as the port's gateway would send it."""
        tags = {"site": "port-day", "gateway": "gw-1", "device": device, "origin": "sim", "vessel": "estran"}
        body = body_of([encode_row("soc", tags, fields, self.now_ns())])
        header = Header("port-day", "gw-1", str(uuid.uuid4()), 1, "live", 1, crc32(body))
        single(topic("port-day", "gw-1", "data"), encode_batch(header, body), qos=1, port=self.broker)

    def write_call(self, berth: str, leaves_in_s: int) -> None:
        """A call in the journal, as a person writes it."""
        now_s = self.now_ns() // 10**9
        arrival, departure = (datetime.fromtimestamp(now_s + s, UTC).isoformat() for s in (-60, leaves_in_s))
        body = json.dumps({"imo": "9074729", "berth": berth, "arrival": arrival, "departure": departure})
        with closing(Book(self.folder / "book.db")) as book:
            book.write_journal([NewEntry("port-day", "call", body, "anne", "plan")], self.now_ns())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    with ExitStack() as stack:
        yield Port(tmp_path_factory.mktemp("port"), stack)


def _end_browsers() -> None:
    """Whatever waits for the browser gets an error: "connection closed while reading from the driver"."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.name().startswith(("chrom", "node")):
                child.kill()


@pytest.fixture(autouse=True)
def _no_browser_waits_for_ever() -> Iterator[None]:
    timer = threading.Timer(TEST_S, _end_browsers)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


@pytest.fixture(scope="module")  # playwright keeps a loop running in this thread: no async test could follow
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        yield chromium
        closing = threading.Timer(COMMAND_S, _end_browsers)
        closing.daemon = True
        closing.start()
        chromium.close()
    closing.cancel()


SignIn = Callable[..., Page]


@pytest.fixture
def sign_in(browser: Browser, port: Port) -> Iterator[SignIn]:
    """`sign_in("anne", lang="fr", width=1400)` opens the page as somebody, and fails on any script error."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def opened(name: str, path: str = "/", lang: str = "fr", width: int = 1400, dark: bool = False) -> Page:
        context = browser.new_context(
            locale="fr-FR" if lang == "fr" else "en-GB", viewport={"width": width, "height": 950},
            color_scheme="dark" if dark else "light",
        )  # fmt: skip
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{port.url}/login?next={path}")
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", PASSWORD)
        page.click("button")
        page.wait_for_selector(".view")
        return page

    yield opened
    for context in contexts:
        context.close()
    # A request that meets a server which a test has killed is no script error.
    assert [error for error in wrong if "Failed to fetch" not in error] == []
