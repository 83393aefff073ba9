"""Logs as logfmt, one line per record, on stderr."""

import logging
import sys
import time


class Logfmt(logging.Formatter):
    """`time=… level=… logger=… msg="…"`, with a traceback's line breaks escaped."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    @staticmethod
    def converter(timestamp: float | None) -> time.struct_time:
        return time.gmtime(timestamp)

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return (
            f'time={self.formatTime(record)} level={record.levelname.lower()} logger={record.name} msg="{quoted}"'
        )


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send every record to stderr; called once, by a command."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt())
    logging.basicConfig(level=level, handlers=[handler], force=True)
