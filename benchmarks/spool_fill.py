"""A process that does nothing but fill a spool: its memory is the spool's. Prints a line of JSON for each tenth."""

import json
import pickle
import sys
import time
from pathlib import Path

from edge.health import rss_bytes
from edge.spool import Entry, Spool

ROWS_PER_COMMIT, ROWS_PER_BATCH, CHECKPOINT_EVERY = 2_000, 500, 50


def fill(path: Path, sample: list[Entry], count: int) -> None:
    """`count` rows like the sample's, later and later, sealed as an agent does it that nobody listens to."""
    spool = Spool(path)
    span_ns = sample[-1].t_ns - sample[0].t_ns + 10**9
    done, begin_s = 0, time.perf_counter()
    while done < count:
        entries = []
        for i in range(done, min(done + ROWS_PER_COMMIT, count)):
            turn, at = divmod(i, len(sample))
            entry = sample[at]
            t_ns = entry.t_ns + turn * span_ns
            line = f"{entry.line[: entry.line.rindex(' ')]} {t_ns}"
            entries.append(Entry(entry.lane, t_ns, line, entry.replay))
        state = b"s" * 50_000 if done // ROWS_PER_COMMIT % CHECKPOINT_EVERY == 0 else None
        spool.commit(entries, state)
        for lane in ("live", "detail", "minutes"):
            while spool.seal(lane, ROWS_PER_BATCH, least_rows=ROWS_PER_BATCH) is not None:
                pass
        before, done = done, done + len(entries)
        if done * 10 // count > before * 10 // count:
            found = {
                "rows": done, "waiting": spool.tally().waiting, "rss": rss_bytes(), "file": spool.file_bytes(),
                "s": time.perf_counter() - begin_s,
            }  # fmt: skip
            print(json.dumps(found), flush=True)
    spool.close()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), pickle.loads(Path(sys.argv[2]).read_bytes()), int(sys.argv[3]))
