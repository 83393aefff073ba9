"""A site with one lock, and rows of a simulated one as its driver would return them."""

from collections.abc import Iterator
from pathlib import Path

from edge_rows import NS, START_NS

from drivers.row import Quality, Row, empty_row
from edge.config import LoadedSite
from firmware_sim.plant.lock import Lock

PROFILE = Path(__file__).parents[1] / "firmware_sim" / "profiles" / "lock-mid-gate.toml"
SITE = """
schema = 1
[site]
name = "canal"
gateway = "gw"
[broker]
host = "127.0.0.1"
[[device]]
name = "lock"
profile = "{profile}"
host = "127.0.0.1"
[device.lock]
{lock}
"""
PLAIN = "chamber_area_m2 = 1735.2\nsluice_m2 = 5.0"
WITH_MIDDLE_GATE = """
coefficient = 0.6
[[device.lock.head]]
name = "up"
gates = ["up"]
sluices = ["up"]
sluice_m2 = [5.0]
lights = ["up_in", "up_out"]
[[device.lock.head]]
name = "mid"
intermediate = true
gates = ["mid"]
sluices = ["mid"]
sluice_m2 = [5.0]
lights = ["mid_in", "mid_out"]
[[device.lock.head]]
name = "down"
gates = ["down"]
sluices = ["down"]
sluice_m2 = [5.0]
lights = ["down_in", "down_out"]
[[device.lock.chamber]]
area_m2 = 1104.0
level = "level_chamber_m"
[[device.lock.chamber]]
area_m2 = 631.2
"""


def load(folder: Path, lock: str, profile: str = "generic-lock") -> LoadedSite:
    path = folder / "site.toml"
    path.write_text(SITE.format(profile=profile, lock=lock))
    return LoadedSite.load(path)


def rows_of(loaded: LoadedSite, lock: Lock, seconds: range) -> Iterator[Row]:
    """What a simulated lock shows, once a second, as its driver would return it."""
    profile = loaded.profiles["lock"]
    for second in seconds:
        shown = lock.values(second * NS)
        row = empty_row(len(profile.points), START_NS + second * NS, Quality.NOT_SCANNED)
        for i, point in enumerate(profile.points):
            if point.scan == "live":
                row.values[i], row.quality[i] = float(shown[point.name]), Quality.GOOD  # type: ignore[arg-type]
        yield row
