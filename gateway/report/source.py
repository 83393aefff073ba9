"""What gateways say about their site, merged; and a tag of each row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.wire import Catalogue
from gateway.store.base import Columns


def site_settings(catalogues: Sequence[Catalogue]) -> dict[str, Any]:
    """Devices, berths and vessels of all gateways of a site, by name; `hashes` of their site files by gateway.

    `unsigned`: meters whose gateway says that their commissioning is not signed for.
    """
    merged: dict[str, Any] = {
        "device": {},
        "berth": {},
        "vessel": {},
        "hashes": {},
        "unsigned": [],
        "timezone": "Europe/Paris",
    }
    for catalogue in sorted(catalogues, key=lambda c: c.gateway):
        merged["hashes"][catalogue.gateway] = catalogue.hash
        merged["timezone"] = catalogue.settings.get("site", {}).get("timezone", merged["timezone"])
        merged["unsigned"] += [
            str(d["name"]) for d in catalogue.devices
            if d.get("kind") == "meter" and d.get("commissioned", {}).get("state", "signed") != "signed"
        ]  # fmt: skip
        for part in ("device", "berth", "vessel"):
            merged[part] |= {item["name"]: item for item in catalogue.settings.get(part, ())}
    return merged


def tag(rows: Columns, name: str) -> NDArray[np.object_]:
    """A tag of each row, "" where it has none."""
    found = rows.tags.get(name)
    return np.full(len(rows), "", object) if found is None else found
