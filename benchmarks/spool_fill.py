"""A process that does nothing but fill a spool: its memory is the spool's. Prints JSON for each tenth."""

import json
import pickle
import sys
import time
from pathlib import Path

from edge import wire
from edge.health import rss_bytes
from edge.spool import ROWS_IN_BATCH, Entry, Spool

ROWS_PER_COMMIT, CHECKPOINT_EVERY = 2_000, 50
STATE = json.dumps({"last_ns": {}, "layout": "none", "states": {}, "of the usual size": "s" * 50_000}).encode()


def fill(path: Path, sample: list[Entry], count: int, last_ns: int = 0, owner: str = "") -> None:
    """`count` rows like the sample's, one after the other, sealed as an agent does it that nobody listens to.

    Args:
        last_ns: When the last of them was taken; 0: the sample's own time, and later.
    """
    spool = Spool(path, owner)
    span_ns = sample[-1].t_ns - sample[0].t_ns + 10**9
    begin_ns = last_ns - sample[0].t_ns - count * span_ns // len(sample) if last_ns else 0
    done, begin_s = 0, time.perf_counter()
    while done < count:
        entries = []
        for i in range(done, min(done + ROWS_PER_COMMIT, count)):
            turn, at = divmod(i, len(sample))
            entry = sample[at]
            t_ns = entry.t_ns + begin_ns + turn * span_ns
            line = f"{entry.line[: entry.line.rindex(' ')]} {t_ns}"
            entries.append(Entry(entry.lane, t_ns, line, entry.replay))
        done_now = done + len(entries)
        is_due = done // ROWS_PER_COMMIT % CHECKPOINT_EVERY == 0 or done_now == count
        spool.commit(entries, STATE if is_due else None)
        for lane in wire.LANES:
            while spool.seal(lane, ROWS_IN_BATCH, least_rows=ROWS_IN_BATCH) is not None:
                pass
        if done_now * 10 // count > done * 10 // count:
            found = {
                "rows": done_now, "waiting": spool.tally().waiting, "rss": rss_bytes(), "file": spool.file_bytes(),
                "s": time.perf_counter() - begin_s,
            }  # fmt: skip
            print(json.dumps(found), flush=True)
        done = done_now
    spool.close()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), pickle.loads(Path(sys.argv[2]).read_bytes()), int(sys.argv[3]))
