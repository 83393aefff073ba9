"""Disks that forget what was not synced, and disks that are full: `disk.c` under the processes of the product."""

import os
import shutil
import subprocess
from pathlib import Path
from random import Random

PAGE = 4096
SOURCE = Path(__file__).with_name("disk.c")


def build(folder: Path) -> Path:
    """Compile the shim. Needs a C compiler."""
    made = folder / "disk.so"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl", "-lpthread"],
        check=True,
        timeout=120,
    )
    return made


class Disk:
    """A folder whose files a process sees through the shim; give it `env`."""

    def __init__(self, shim: Path, folder: Path) -> None:
        self.folder = folder
        self.env = {"LD_PRELOAD": str(shim), "CHAOS_DISK": str(folder)}

    def _files(self) -> list[Path]:
        return [file for file in self.folder.iterdir() if file.suffix in (".db", ".db-wal")]

    def settle(self) -> None:
        """What stands there now was there for long: before the first process starts."""
        for file in self._files():
            shutil.copyfile(file, f"{file}.durable")

    def fill(self) -> None:
        (self.folder / "full").touch()

    def free(self) -> None:
        (self.folder / "full").unlink(missing_ok=True)

    def cut_power(self, chance: Random) -> int:
        """With the process dead: of each page that was not synced, chance decides whether it had arrived.

        Returns: pages that were lost.
        """
        lost = 0
        for file in self._files():
            kept = Path(f"{file}.durable")
            if not kept.exists():  # made, and never synced
                lost += file.stat().st_size // PAGE + 1
                file.unlink()
                continue
            new, old = file.read_bytes(), kept.read_bytes()
            size = chance.choice((len(new), len(old)))
            pages = []
            for at in range(0, size, PAGE):
                late, safe = new[at : at + PAGE], old[at : at + PAGE].ljust(min(PAGE, size - at), b"\0")
                arrived = late == safe or chance.random() < 0.5
                pages.append(late if arrived else safe)
                lost += not arrived
            file.write_bytes(b"".join(pages)[:size])
            shutil.copyfile(file, kept)
        for file in self.folder.glob("*-shm"):
            file.unlink()
        return lost


def compiler() -> bool:
    return shutil.which("cc", path=os.environ.get("PATH")) is not None
