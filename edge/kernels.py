"""The kernels of a gateway, loaded before its first row; the first time they are compiled, and that is told."""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from time import monotonic

from numba.core.event import Event, Listener, install_listener

from dsp.warm import warm

log = logging.getLogger(__name__)


class _FirstOne(Listener):  # type: ignore[misc]  # numba has no types
    """Says once that the compiler has begun: what comes from the cache never gets there."""

    def __init__(self) -> None:
        self.began = False

    def on_start(self, event: Event) -> None:
        if not self.began:
            self.began = True
            log.info(
                "event=compiling_kernels cache=%s hint='up to a minute, once; bollard edge warm does it before'",
                os.environ.get("NUMBA_CACHE_DIR", "-"),
            )

    def on_end(self, event: Event) -> None:
        pass


@contextmanager
def telling() -> Iterator[None]:
    """Log before the first and after the last kernel is compiled in the block; nothing if none is."""
    first, start_s = _FirstOne(), monotonic()
    with install_listener("numba:compile", first):
        yield
    if first.began:
        log.info("event=kernels_compiled seconds=%.1f", monotonic() - start_s)


def were_warm(kinds: Collection[str]) -> bool:
    """Load them; False where one had to be compiled for that."""
    first = _FirstOne()
    with install_listener("numba:compile", first):
        warm(kinds)
    return not first.began


def load_kernels(kinds: Collection[str]) -> None:
    """Load what is fed row by row for these kinds of devices."""
    with telling():
        warm(kinds)
