"""Notices of alarms by e-mail and webhook: off unless the shore file has a `[[web.notice]]`.

What begins within a few seconds goes out as one message, so that a flood of a thousand alarms is one e-mail with
its count and not a thousand. A notice informs: it is no way to be woken, and what could not be sent is said on the
page.
"""

import asyncio
import http.client
import json
import logging
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gateway.texts import Texts, load_texts
from gateway.web.alarms import Priority

log = logging.getLogger(__name__)
ANSWER_S = 20.0  # a mail server or a web service that takes longer is not there
TRIES, PAUSE_S = 5, 15.0  # the pause doubles: some four minutes in all, then it is said that it was not sent
MOST_LINES = 20  # of alarms in one message; the others are counted
MOST_WAITING = 1000  # alarms that wait to be sent; the oldest go
AlarmState = Mapping[str, Any]
Waiting = tuple[AlarmState, str, bool]  # the site's time zone; whether it is simulated


class MailSettings(BaseModel):
    """A mail server and who gets the mail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    server: str = Field(min_length=1, description="the mail server's name, as in smtp.port.example")
    port: int = Field(587, ge=1, le=65_535, description="its port, as in 587")
    tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="starttls, tls (from the start) or none"
    )
    username: str | None = Field(None, description="user name at the server, with password_file")
    password_file: Path | None = Field(None, description="file with the password (mode 0600)")
    sender: str = Field(pattern=r"^\S+@\S+$", description="address that it comes from, as in bollard@port.example")
    to: tuple[str, ...] = Field(min_length=1, description='who gets it, as in ["centre@port.example"]')

    @model_validator(mode="after")
    def _fits_together(self) -> "MailSettings":
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together; give both, or neither")
        if self.username and self.tls == "none":
            raise ValueError("a password goes to a mail server under TLS only; set tls to starttls or tls")
        wrong = [one for one in self.to if "@" not in one or any(c.isspace() for c in one)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no mail address; write name@host")
        return self


class NoticeSettings(BaseModel):
    """One `[[web.notice]]`: which alarms go where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    priorities: tuple[Priority, ...] = Field(("high",), min_length=1, description='as in ["high", "medium"]')
    sites: tuple[str, ...] = Field((), description="sites whose alarms are sent; all if left out")
    lang: Literal["fr", "en"] = Field("fr", description="fr or en")
    gather_s: float = Field(5.0, ge=0, le=600, description="seconds within which alarms go into one message")
    mail: MailSettings | None = Field(None, description="a table with server, sender and to")
    webhook: str | None = Field(None, pattern=r"^https?://\S+$", description="address that gets a POST of JSON")

    @field_validator("webhook")
    @classmethod
    def _can_be_asked(cls, address: str | None) -> str | None:
        if address is None:
            return None
        try:
            parts = urlsplit(address)
            fine = bool(parts.hostname) and parts.port != 0 and parts.username is None
        except ValueError:  # a port that is no number, or over 65535
            fine = False
        if not (fine and address.isascii() and address.isprintable()):
            raise ValueError(
                "give scheme, host, a port of 1 to 65535 if any, and path in plain ASCII, no name before @"
            )
        return address

    @model_validator(mode="after")
    def _one_way(self) -> "NoticeSettings":
        if (self.mail is None) == (self.webhook is None):
            raise ValueError("a notice goes by mail or to a webhook; give one of the two")
        return self

    def beside(self, folder: Path) -> "NoticeSettings":
        """The same with the paths of a file in that folder."""
        if self.mail is None or self.mail.password_file is None:
            return self
        mail = self.mail.model_copy(update={"password_file": folder / self.mail.password_file})
        return self.model_copy(update={"mail": mail})

    @property
    def name(self) -> str:
        """For the log: of a webhook no more than scheme and host, since its path may be a secret."""
        if self.webhook is not None:
            parts = urlsplit(self.webhook)
            return f"{parts.scheme}://{parts.hostname}"
        return self.mail.server if self.mail else ""


class Notice:
    """Sends the alarms of one `[[web.notice]]`. `problem`: what the last one failed of; empty if it went."""

    def __init__(self, settings: NoticeSettings) -> None:
        self.settings = settings
        self.problem = ""
        self.left_out = 0  # alarms that nobody was told of, since the start
        self._waiting: list[Waiting] = []
        self._dropped = 0  # of those left out, what the log does not say yet
        self._due = asyncio.Event()

    def take(self, alarm: AlarmState, zone: str, simulated: bool) -> None:
        """An alarm that has begun."""
        wanted = self.settings
        if alarm["priority"] not in wanted.priorities or (wanted.sites and alarm["site"] not in wanted.sites):
            return
        self._waiting.append((alarm, zone, simulated))
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[0]
            self._dropped += 1
            self.left_out += 1
        self._due.set()

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        while True:
            await self._due.wait()
            await asyncio.sleep(self.settings.gather_s)
            self._due.clear()
            taken, self._waiting = self._waiting, []
            if self._dropped:
                self._tell_left_out(self._dropped, f"over {MOST_WAITING} waited")
                self._dropped = 0
            await self._send(taken)

    def _tell_left_out(self, count: int, why: str) -> None:
        log.warning("event=notice_left_out to=%s alarms=%d reason=%r", self.settings.name, count, why)

    async def _send(self, alarms: Sequence[Waiting]) -> None:
        pause_s = PAUSE_S
        for turn in range(TRIES):
            try:
                await asyncio.to_thread(send, self.settings, alarms)
            except (OSError, smtplib.SMTPException, ValueError) as error:
                self.problem = f"{self.settings.name}: {error}"
                log.warning(
                    "event=notice_not_sent to=%s try=%d reason=%r", self.settings.name, turn + 1, str(error)
                )
                if turn + 1 < TRIES:
                    await asyncio.sleep(pause_s)
                pause_s *= 2.0
            else:
                self.problem = ""
                return
        self.left_out += len(alarms)
        self._tell_left_out(len(alarms), f"{TRIES} tries failed")


def send(settings: NoticeSettings, alarms: Sequence[Waiting]) -> None:
    """Blocks until it has gone. Raises: OSError, smtplib.SMTPException, ValueError."""
    if settings.mail is not None:
        _mail(settings.mail, alarms, load_texts(settings.lang))
    elif settings.webhook is not None:
        simulated = any(one for _, _, one in alarms)
        _post(settings.webhook, {"alarms": [alarm for alarm, _, _ in alarms], "simulated": simulated})


def _mail(mail: MailSettings, alarms: Sequence[Waiting], t: Texts) -> None:
    message = EmailMessage()
    message["From"], message["To"] = mail.sender, ", ".join(mail.to)
    first = alarms[0][0]
    subject = t("web.notice.subject", device=first["device"], site=first["site"], count=len(alarms))
    simulated = any(one for _, _, one in alarms)
    message["Subject"] = t("web.notice.simulated", what=subject) if simulated else subject
    lines = [_line(alarm, zone, one, t) for alarm, zone, one in alarms[:MOST_LINES]]
    if len(alarms) > MOST_LINES:
        lines.append(t("web.notice.more", count=len(alarms) - MOST_LINES))
    message.set_content("\n".join([*lines, "", t("web.standing"), t("web.alarm.no_scada")]))
    context = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(mail.server, mail.port, timeout=ANSWER_S, context=context)
        if mail.tls == "tls"
        else smtplib.SMTP(mail.server, mail.port, timeout=ANSWER_S)
    ) as server:
        if mail.tls == "starttls":
            server.starttls(context=context)
        if mail.username is not None and mail.password_file is not None:
            server.login(mail.username, mail.password_file.read_text("utf-8").strip())
        server.send_message(message)


def _line(alarm: AlarmState, zone: str, simulated: bool, t: Texts) -> str:
    priority = t(f"web.alarm.priority.{alarm['priority']}")
    at = t.instant(alarm["since_ms"] * 1_000_000, ZoneInfo(zone), seconds=True)
    line = f"{at}  {priority}  {alarm['site']} {alarm['device']}: {alarm['text'][t.lang]}"
    return t("web.notice.simulated", what=line) if simulated else line


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Alarms go to the address of the shore file and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(address: str, said: Mapping[str, Any]) -> None:
    """The alarms as `/api/1/alarms` gives them."""
    request = urllib.request.Request(
        address, json.dumps(said).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        opener.open(request, timeout=ANSWER_S).close()
    except urllib.error.HTTPError as error:
        with suppress(OSError):
            error.close()
        raise OSError(f"answers {error.code}") from error
    except http.client.HTTPException as error:  # its text may hold the address, and with it a secret
        raise OSError(f"answers no proper HTTP ({type(error).__name__})") from None
