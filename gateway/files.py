"""Files that are written whole or not at all, also by a process that is killed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is to hold; a secret is never readable by others, not even for a moment."""

    file: Path
    data: bytes
    secret: bool = False


def write_whole(contents: Sequence[Content]) -> None:
    """Replace files that belong together. All are on disk under other names before the first takes its own.

    Raises: OSError; then none has changed, unless the disk refuses a rename.
    """
    parts = [content.file.with_name(f".{content.file.name}.part") for content in contents]
    try:
        for content, part in zip(contents, parts, strict=True):
            part.unlink(missing_ok=True)
            mode = 0o600 if content.secret else 0o644
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                out.write(content.data)
                out.flush()
                os.fsync(out.fileno())
        for content, part in zip(contents, parts, strict=True):
            part.replace(content.file)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    for folder in {content.file.parent for content in contents}:
        _sync(folder)


def _sync(folder: Path) -> None:
    """Names, too, have to outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
