"""Logs in logfmt on stderr, for a journal and for grep."""

import logging
import sys


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if "=" not in text.split(" ", 1)[0]:
            text = f"msg={text!r}"
        line = f"level={record.levelname.lower()} module={record.name} {text}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def log_to_stderr(level: int = logging.INFO) -> None:
    """Our own messages from `level` on; libraries speak only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Logfmt())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("edge", "drivers", "dsp"):
        logging.getLogger(name).setLevel(level)
