"""Compiled kernels are kept per content of this folder.

Numba checks only the file of the kernel that is called, not the files of those it calls: after an upgrade that
changes `soc_grid.py` and not `soc.py`, a gateway would go on with the old grid. So the cache folder ends in a
digest of all sources here; whoever sets NUMBA_CACHE_DIR names its parent.
"""

import hashlib
import os
import sys
from pathlib import Path


def _keep_kernels_apart() -> None:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    version = digest.hexdigest()[:12]
    system = Path("/var/cache/bollard")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bollard"
    usual = (system if os.access(system, os.W_OK) else user) / "kernels"
    parent = Path(os.environ.get("NUMBA_CACHE_DIR") or usual)
    if parent.name != version:  # a child process inherits it
        os.environ["NUMBA_CACHE_DIR"] = str(parent / version)
        if "numba" in sys.modules:  # it has read the environment already
            sys.modules["numba"].config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


_keep_kernels_apart()
