"""Notices by e-mail and webhook, to real servers on loopback: off by default, one message for a flood."""

import asyncio
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from shore import SITE, T, row
from web_shore import CODE, Shore, filled, shore

from gateway.config import load_shore
from gateway.errors import ConfigError
from gateway.web import notices
from gateway.web.notices import Notice, NoticeSettings
from gateway.web.settings import WebSettings

__all__ = ["filled", "shore"]  # fixtures
DEADLINE_S = 60.0
SAID: "Queue[Any]" = Queue()


class MailLine(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as takes a mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 bench\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                body = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    body += part
                SAID.put(message_from_bytes(body, policy=policy.default))
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        SAID.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)


@pytest.fixture
def mail_port() -> Iterator[int]:
    with served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailLine)) as port:
        yield port


def mail(port: int, **more: Any) -> NoticeSettings:
    table = {"server": "127.0.0.1", "port": port, "tls": "none", "sender": "bollard@port.example",
             "to": ["centre@port.example"]}  # fmt: skip
    return NoticeSettings.model_validate({"mail": table, "gather_s": 0.0} | more)


async def sent(notice: Notice, shore: Shore, devices: int = 1, code: str = CODE) -> Any:
    """What the server got of alarms that began at so many devices."""
    shore.hub.notices = [notice]
    for n in range(devices):
        shore.hub.live.take(
            [row(T, "event", f"charger-{n + 1}", {"code": code, "point": "gates"}, active=1, gate="up")]
        )
    task = asyncio.ensure_future(notice.run())
    try:
        return await asyncio.to_thread(SAID.get, True, DEADLINE_S)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def failed(notice: Notice, shore: Shore) -> None:
    """An alarm that could not be sent; `run` goes on."""
    shore.hub.notices = [notice]
    shore.begin()
    task = asyncio.ensure_future(notice.run())
    async with asyncio.timeout(DEADLINE_S):
        while not (notice.left_out or task.done()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()


async def test_a_high_alarm_goes_out_as_a_mail_that_says_what_bollard_is(shore: Shore, mail_port: int) -> None:
    said: EmailMessage = await sent(Notice(mail(mail_port)), shore)
    body = said.get_content()
    assert (said["To"], said["From"]) == ("centre@port.example", "bollard@port.example")
    assert said["Subject"] == f"SIMULATION — bollard : 1 alarme(s), charger-1 ({SITE})"
    assert body.startswith("SIMULATION — ") and "HAUTE" in body and "Aucune tête n'est fermée" in body
    assert "n'assure aucune fonction de sécurité" in body and "n'acquitte pas le superviseur" in body


async def test_a_flood_is_one_mail_with_its_count(shore: Shore, mail_port: int) -> None:
    said: EmailMessage = await sent(Notice(mail(mail_port, lang="en")), shore, 1000)
    lines = said.get_content().splitlines()
    assert "1000 alarm(s)" in said["Subject"] and lines[20] == "and 980 more alarms." and len(lines) < 30


async def test_a_webhook_gets_the_alarm_as_the_api_gives_it(shore: Shore) -> None:
    with served(ThreadingHTTPServer(("127.0.0.1", 0), Hook)) as port:
        hook = NoticeSettings(webhook=f"http://127.0.0.1:{port}/alarms", gather_s=0.0)
        said = await sent(Notice(hook), shore)
    (alarm,) = said["alarms"]
    (held,) = shore.get("alarms").json()["alarms"]
    assert alarm == held and said["simulated"] is True


class Babble(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"220 this is no web server\r\n")


async def test_a_webhook_that_speaks_no_http_is_a_failed_try_and_ends_nothing(
    shore: Shore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notices, "PAUSE_S", 0.01)
    with served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Babble)) as port:
        notice = Notice(NoticeSettings(webhook=f"http://127.0.0.1:{port}/s3cret", gather_s=0.0))
        await failed(notice, shore)
    assert notice.problem.startswith("http://127.0.0.1: answers no proper HTTP")
    assert "to=http://127.0.0.1 " in caplog.text and "s3cret" not in caplog.text


async def test_alarms_that_were_left_out_are_counted_on_the_page_and_in_the_log(
    shore: Shore, mail_port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notices, "MOST_WAITING", 3)
    said: EmailMessage = await sent(Notice(mail(mail_port, lang="en")), shore, 5)
    assert "3 alarm(s)" in said["Subject"] and shore.get("latest").json()["left_out"] == 2
    assert "event=notice_left_out to=127.0.0.1 alarms=2" in caplog.text


async def test_a_real_alarm_is_not_called_simulated(shore: Shore) -> None:
    notice = Notice(NoticeSettings(webhook="http://x"))
    shore.hub.notices = [notice]
    for origin in ("real", "sim"):
        tags = {"code": CODE, "point": origin, "origin": origin}
        shore.hub.live.take([row(T, "event", "charger-1", tags, active=1, gate="up")])
    assert [simulated for _, _, simulated in notice._waiting] == [False, True]


async def test_only_the_priorities_and_sites_that_were_asked_for(shore: Shore, mail_port: int) -> None:
    for settings in (mail(mail_port, priorities=["low"]), mail(mail_port, sites=["elsewhere"])):
        notice = Notice(settings)
        shore.hub.notices = [notice]
        shore.begin()
        assert notice._waiting == []


async def test_what_cannot_be_sent_is_tried_again_and_then_said_on_the_page(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "PAUSE_S", 0.01)
    monkeypatch.setattr(notices, "TRIES", 3)
    with socketserver.TCPServer(("127.0.0.1", 0), MailLine) as gone:
        port = gone.server_address[1]
    notice = Notice(mail(port))
    await failed(notice, shore)
    assert "127.0.0.1" in notice.problem and shore.get("latest").json()["unsent"] is True


def test_nobody_is_told_anything_by_default(shore: Shore) -> None:
    assert WebSettings().notice == () and shore.hub.notices == ()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("", "give one of the two"),
        ('webhook = "ftp://x"', "webhook"),
        ('webhook = "https://x:99999/s3cret"', "1 to 65535"),
        ('webhook = "https://x:eight/hook"', "1 to 65535"),
        ('webhook = "https://name:word@x/hook"', "no name before @"),
        ('webhook = "https://x"\npriorities = ["loud"]', "as in"),
        ('[web.notice.mail]\nserver = "x"\nsender = "a@b"\nto = ["nobody"]', "write name@host"),
        ('[web.notice.mail]\nserver = "x"\nsender = "a@b"\nto = ["c@d"]\nusername = "u"', "give both"),
    ],
)
def test_a_wrong_table_is_told_where_and_what_to_write(tmp_path: Path, table: str, told: str) -> None:
    file = tmp_path / "shore.toml"
    file.write_text(f'schema = 1\n[store]\nurl = "sqlite:s.db"\n[[web.notice]]\n{table}\n')
    with pytest.raises(ConfigError, match=r"web\.notice") as refused:
        load_shore(file)
    assert told in str(refused.value) and "s3cret" not in str(refused.value)
