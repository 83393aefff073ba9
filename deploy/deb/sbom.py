"""What a package is made of, as CycloneDX 1.6: each distribution with version, licence and package URL."""

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, cast


def bill_of_materials(site: Path, package: str, version: str, arch: str, epoch_s: int) -> dict[str, Any]:
    """Of all in a folder of site-packages. Python's interpreter is Debian's: the package's Depends name it."""
    components = sorted(_components(site), key=lambda component: str(component["purl"]))
    made_of = " ".join(str(component["purl"]) for component in components)
    purl = f"pkg:deb/debian/{package}@{version}?arch={arch}"
    whole = {"type": "application", "bom-ref": purl, "name": package, "version": version, "purl": purl}
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{purl} {made_of}')}",
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch_s, UTC).isoformat(),
            "component": whole,
        },
        "components": components,
        "dependencies": [{"ref": purl, "dependsOn": [component["bom-ref"] for component in components]}],
    }  # fmt: skip


def _components(site: Path) -> Iterator[dict[str, Any]]:
    for found in distributions(path=[str(site)]):
        about = cast(Message, found.metadata)
        name = re.sub(r"[-_.]+", "-", str(about["Name"])).lower()
        purl = f"pkg:pypi/{name}@{found.version}"
        component: dict[str, Any] = {
            "type": "library", "bom-ref": purl, "name": name, "version": found.version, "purl": purl,
        }  # fmt: skip
        if licences := _licences(about):
            component["licenses"] = licences
        yield component


def _licences(about: Message) -> list[dict[str, Any]]:
    """An SPDX expression where there is one, else what the distribution says, else its classifiers."""
    if expression := about.get("License-Expression"):
        return [{"expression": expression}]
    text = str(about.get("License") or "").strip()
    if text and "\n" not in text and len(text) < 80:
        return [{"license": {"name": text}}]
    classifiers = [str(line) for line in about.get_all("Classifier") or () if str(line).startswith("License ::")]
    return [{"license": {"name": line.rpartition(" :: ")[2]}} for line in classifiers]
