"""Logs in logfmt on stderr, for a journal and for grep."""

import logging
import sys
import time


class _Logfmt(logging.Formatter):
    """`time=… level=… logger=… event=…`; a traceback's line breaks are escaped."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    @staticmethod
    def converter(timestamp: float | None) -> time.struct_time:
        return time.gmtime(timestamp)

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"msg={text!r} traceback={self.formatException(record.exc_info)!r}"
        elif "=" not in text.split(" ", 1)[0]:
            text = f"msg={text!r}"
        return f"time={self.formatTime(record)} level={record.levelname.lower()} logger={record.name} {text}"


def log_to_stderr(level: int = logging.INFO) -> None:
    """Our own messages from `level` on; libraries speak only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Logfmt())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("edge", "drivers", "dsp"):
        logging.getLogger(name).setLevel(level)
