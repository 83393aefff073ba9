"""A simulated lock through the edge's own computations into a store, and its month against what the plant did."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from drivers.row import Quality, empty_row
from edge import wire
from edge.config import LoadedSite, catalogue
from edge.pipeline import Pipeline
from firmware_sim.plant.lock import PRESETS, Lock
from gateway.report.figure import by_key
from gateway.report.model import build

pytestmark = pytest.mark.usefixtures("kernels")
NS = 1_000_000_000
START_NS = 1_790_900_000 * NS  # in October 2026
SECONDS = 7200
LOCAL_FROM, LOCAL_TO = 3000, 3600  # the lock is taken over for ten minutes
SITE = """
schema = 1
[site]
name = "canal"
gateway = "gw"
[broker]
host = "127.0.0.1"
[[device]]
name = "lock"
profile = "generic-lock"
host = "127.0.0.1"
origin = "sim"
[device.lock]
chamber_area_m2 = 1735.2
sluice_m2 = 5.0
[[device.lock.band]]
point = "level_upstream_m"
low_m = 21.55
high_m = 21.65
"""


def run(folder: Path, port: Any) -> Lock:
    """Two hours, a scan a second; what the edge makes of them is stored."""
    path = folder / "site.toml"
    path.write_text(SITE)
    loaded = LoadedSite.load(path)
    lock, pipeline, profile = Lock(PRESETS["fall-4.9"], 11), Pipeline(loaded), loaded.profiles["lock"]
    for second in range(1, SECONDS + 1):
        shown = dict(lock.values(second * NS))
        if LOCAL_FROM <= second < LOCAL_TO:
            shown["mode"] = 0
        row = empty_row(len(profile.points), START_NS + second * NS, Quality.NOT_SCANNED)
        for i, point in enumerate(profile.points):
            if point.scan == "live":
                row.values[i], row.quality[i] = float(shown[point.name]), Quality.GOOD  # type: ignore[arg-type]
        pipeline.take("lock", row)
    sent = catalogue(loaded)
    port.book.put_catalogue(sent)
    rows = [wire.decode_row(entry.line) for entry in pipeline.entries]
    assert port.store.write(rows, sent.field_types()) == []
    return lock


def test_a_months_figures_are_what_the_plant_did(port: Any, tmp_path: Path) -> None:
    lock = run(tmp_path, port)
    done = [x for x in lock.lockages if x.end_s is not None and x.end_s < SECONDS]
    found = by_key(build(port.store, port.book, "2026-10", "canal").figures())

    def value(name: str, where: str = "") -> Any:
        return found[f"lock.{name}/lock=lock{where}"].value

    assert len(done) >= 4
    assert abs(value("total") - len(done)) <= 1  # the plant ends a lockage a little later than the edge
    ups = [x.volume_m3 for x in done if x.direction == "up"]
    assert float(value("water_drawn_m3")) == pytest.approx(sum(ups), rel=0.02)
    share = Fraction(SECONDS - 1 - (LOCAL_TO - LOCAL_FROM), SECONDS - 1)
    assert value("remote_share") == share
    assert found["lock.remote_share/lock=lock"].coverage == Fraction(SECONDS - 1, 745 * 3600)
    assert value("takeovers") == 1
    assert value("in_band", ",point=level_upstream_m") == 1
    assert value("alarms") == value("estops") == 0
    changed_in_one = [t for t in (LOCAL_FROM, LOCAL_TO) if any(x.start_s < t < (x.end_s or 0.0) for x in done)]
    assert value("incoherences") == len(changed_in_one) > 0
