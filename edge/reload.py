"""Another site file for a running agent: read and checked whole; the old one goes on where it is wrong."""

from collections.abc import Callable

from edge.config import ConfigError, LoadedSite
from edge.kernels import load_kernels
from edge.pipeline import Pipeline

FIXED = ("site", "broker", "spool", "clock")  # tables on which spool, connection and clock stand


def successor(old: LoadedSite, load: Callable[[], LoadedSite]) -> LoadedSite:
    """The site file as it is now. Raises: ConfigError, ValueError, where it is not for a running agent."""
    new = load()
    if changed := [f"[{table}]" for table in FIXED if getattr(old.site, table) != getattr(new.site, table)]:
        raise ConfigError(
            f"{new.path}: {', '.join(changed)} changed, which a running agent keeps;"
            " restart it (systemctl restart bollard-edge), or take this change back"
        )
    load_kernels({profile.kind for profile in new.profiles.values()})  # not while rows wait for them
    Pipeline(new)  # what it cannot be made of is told before anything ends
    return new
