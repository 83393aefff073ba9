"""Takes secrets out of text that leaves the machine: by their keys, by their shape, and by the secrets themselves.

Three nets, one behind the other: a value whose key says that it is secret; what looks like one wherever it stands
(a private key, a URL with a password, a token); and every secret that is known here, word by word.
"""

import base64
import os
import re
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

GONE = "[removed]"
SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)?|passe|secret|token|api[_-]?key|private|credential|authorization|\bpwd\b|\bkey\b|cookie",
    re.IGNORECASE,
)
PATHS = re.compile(r"_(file|env)$|^tls_key$|^key_file$", re.IGNORECASE)  # they say where, not what
SHAPES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?<=://)[^/\s@\"']+(?=@)"),  # user:password of a URL
    re.compile(r"(?i)(?<=[?&])(token|password|p|key|secret|sig|access_token)=[^&\s\"']+"),
    re.compile(r"(?i)\b(bearer|basic|token)\s+[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"),  # JWT
    re.compile(r"(?<![A-Za-z0-9_/-])[A-Za-z0-9_-]{86}=="),  # an API token of InfluxDB
    re.compile(r"\$argon2\w*\$[^\s\"']+"),
)
NAMED = r"[\w-]*(?:password|passwd|passphrase|mot de passe|secret|token|api[_-]?key|pwd|credential)[\w-]*"
VALUE = r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;\"']+)"
SAID = (  # in logs and error messages: key = value and "key": value; --key value
    re.compile(rf"(?i)({NAMED}[\"']?(?:\s*[=:]\s*|\s+(?:est|is)\s+)){VALUE}"),
    re.compile(rf"(?i)(--{NAMED}\s+){VALUE}"),
)
SHORTEST = 4  # characters of a secret that is looked for word by word; a shorter one is in every text


class Redactor:
    """Keeps what is known to be secret here, and counts what was taken out."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found: set[str] = set()
        for secret in secrets:
            for word in {secret, *secret.split("\n")}:
                word = word.strip()
                if len(word) >= SHORTEST and not word.startswith("-----"):
                    found |= {word, urllib.parse.quote(word, safe=""), base64.b64encode(word.encode()).decode()}
        self._secrets = sorted(found, key=len, reverse=True)
        self.removed = 0

    def text(self, text: str) -> str:
        """The same without secrets."""
        for secret in self._secrets:
            if secret in text:
                self.removed += text.count(secret)
                text = text.replace(secret, GONE)
        for shape in SHAPES:
            text, count = shape.subn(GONE, text)
            self.removed += count
        for said in SAID:
            text = said.sub(self._said, text)
        return text

    def _said(self, match: re.Match[str]) -> str:
        key = match[1].rstrip(" \t:=\"'")
        if match[2] == GONE or PATHS.search(key):
            return match[0]
        self.removed += 1
        return f"{match[1]}{GONE}"

    def data(self, value: Any, key: str = "") -> Any:
        """The same for settings and JSON: a value whose key says secret goes whole."""
        if isinstance(value, dict):
            return {self.text(str(name)): self.data(item, str(name)) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item, key) for item in value]
        if value is not None and SECRET_KEY.search(key) and not PATHS.search(key) and not isinstance(value, bool):
            self.removed += 1
            return GONE
        return self.text(value) if isinstance(value, str) else value


def known_secrets(settings: Any, folder: Path) -> set[str]:
    """Secrets that settings hold or name: values under secret keys, content of the files and variables named."""
    found: set[str] = set()
    if isinstance(settings, dict):
        for key, value in settings.items():
            if not isinstance(value, str):
                found |= known_secrets(value, folder)
            elif re.search(r"(password|token|key)_?file$|^tls_key$", key):
                found.add(_read(folder / value))
            elif key.endswith("_env"):
                found.add(os.environ.get(value, ""))
            elif SECRET_KEY.search(key) and not PATHS.search(key):
                found.add(value)
    elif isinstance(settings, list):
        for item in settings:
            found |= known_secrets(item, folder)
    return found - {""}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:65_536]
    except OSError:
        return ""
