"""Debian packages of bollard: `make deb`, or `python deploy/deb/build.py --arch arm64 --out dist`.

Two packages for Debian 12, an architecture each: `bollard`, the gateway, a virtual environment in /opt/bollard
made of wheels only, so nothing is compiled there but our kernels; `bollard-shore`, what ingest, page and reports
need besides, into the same environment. Builds arm64 on amd64 and the reverse: nothing of the target is run here.
"""

import argparse
import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from sbom import bill_of_materials

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYTHON = (3, 11)  # of Debian 12
GLIBC = ("2_17", "2_27", "2_28", "2_31", "2_34")  # wheels for these run on Debian 12's 2.36
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
SITE_PACKAGES = Path(f"opt/bollard/lib/python{PYTHON[0]}.{PYTHON[1]}/site-packages")
UNITS = {"bollard": ("edge",), "bollard-shore": ("ingest", "serve", "report")}
CONFFILES = {"bollard": ("edge.env",), "bollard-shore": ("shore.env",)}
DEPENDS = {
    "bollard": "python3 (>= 3.11), python3 (<< 3.12), libc6 (>= 2.34), libstdc++6, libgcc-s1, zlib1g, tzdata,"
    " adduser",
    "bollard-shore": "bollard (= {version})",
}
ABOUT = {
    "bollard": "telemetry of quay and lock: the gateway\n Polls PLCs and meters, keeps every row on disk until the"
    " shore has confirmed\n it, publishes over MQTT. Reads only. It informs; it is no safety function.",
    "bollard-shore": "telemetry of quay and lock: the shore side\n Takes and stores what gateways send; the"
    " supervisors' page; reports of energy\n and CO2.",
}
LAUNCHER = "#!/opt/bollard/bin/python -I\nfrom gateway.cli import main\n\nmain()\n"
MAINTAINER = "bollard <bollard@localhost>"


def main() -> None:
    options = _options()
    if sys.version_info[:2] != PYTHON:
        sys.exit(f"this is Python {sys.version.split()[0]}; byte code for Debian 12 is made by Python 3.11")
    os.environ.setdefault(
        "SOURCE_DATE_EPOCH", _git("log", "-1", "--format=%ct")
    )  # the same commit, the same bytes
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bollard-deb-") as name:
        work = Path(name)
        wheel = _wheel(work)
        for arch in options.arch or [_host()]:
            gateway, shore = work / f"{arch}-edge", work / f"{arch}-all"
            _install(wheel, "", arch, gateway)
            _install(wheel, "[shore]", arch, shore)
            _only_what_is_new(shore, gateway)
            for package, tree in (("bollard", gateway), ("bollard-shore", shore)):
                print(_package(package, options.version, arch, tree, options.out), flush=True)


def _options() -> argparse.Namespace:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arch", action="append", choices=sorted(MACHINES), help="this machine's if not given")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the packages")
    parser.add_argument("--version", default=version, help=f"Debian version; {version} if not given")
    return parser.parse_args()


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _host() -> str:
    return subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()


def _wheel(work: Path) -> Path:
    """Of the files that git knows: what lies about in the folder is none of the package's."""
    source = work / "source"
    for name in _git("ls-files").splitlines():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(work), str(source)]
    subprocess.run(pip, check=True)
    return next(work.glob("bollard-*.whl"))


def _install(wheel: Path, extra: str, arch: str, target: Path) -> None:
    """Wheels for that machine, in the versions that the tests ran with."""
    platforms = [f"--platform=manylinux_{glibc}_{MACHINES[arch]}" for glibc in GLIBC]
    platforms.append(f"--platform=manylinux2014_{MACHINES[arch]}")
    pip = [
        sys.executable, "-m", "pip", "install", "-q", "--target", str(target), "--only-binary=:all:",
        "--no-compile", "--implementation=cp", "--python-version={}.{}".format(*PYTHON),
        "--abi=cp{}{}".format(*PYTHON), "--abi=abi3", "--abi=none", *platforms,
        "-c", str(ROOT / "constraints.txt"), f"{wheel}{extra}",
    ]  # fmt: skip
    subprocess.run(pip, check=True)
    shutil.rmtree(target / "bin", ignore_errors=True)  # their launchers name this machine's Python; ours does not
    for tests in [*target.glob("numba/tests"), *target.glob("numpy/**/tests"), *target.glob("llvmlite/tests")]:
        shutil.rmtree(tests)


def _only_what_is_new(tree: Path, base: Path) -> None:
    """Leave what the other package does not have. Both were made with the same constraints."""
    for file in sorted(tree.rglob("*"), reverse=True):
        if file.is_dir() and not file.is_symlink():
            if not any(file.iterdir()):
                file.rmdir()
        elif (base / file.relative_to(tree)).exists():
            file.unlink()


def _package(package: str, version: str, arch: str, tree: Path, out: Path) -> Path:
    stage = tree.with_name(f"{arch}-{package}")
    site, doc = stage / SITE_PACKAGES, stage / "usr/share/doc" / package
    site.parent.mkdir(parents=True)
    tree.rename(site)
    doc.mkdir(parents=True)
    bill = bill_of_materials(site, package, version, arch, int(os.environ["SOURCE_DATE_EPOCH"]))
    (doc / "sbom.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")
    shutil.copyfile(ROOT / "LICENSE", doc / "copyright")
    shutil.copyfile(ROOT / "deploy/README.md", doc / "README.md")
    _compile(site)
    for unit in UNITS[package]:
        for file in (ROOT / "deploy/systemd").glob(f"bollard-{unit}.*"):
            _copy(file, stage / "lib/systemd/system" / file.name)
    for name in CONFFILES[package]:
        _copy(HERE / name, stage / "etc/bollard" / name)
    if package == "bollard":
        _environment(stage)
        _copy(HERE / "site.toml", doc / "examples/site.toml")
    _control(package, version, arch, stage)
    made = out / f"{package}_{version}_{arch}.deb"
    subprocess.run(
        ["dpkg-deb", "-Zzstd", "-z6", "--root-owner-group", "-b", stage, made], check=True, capture_output=True
    )
    return made


def _environment(stage: Path) -> None:
    """A virtual environment is a file, a link and a folder; `venv` would write this machine's paths into it."""
    program, link = stage / "opt/bollard/bin/bollard", stage / "usr/bin/bollard"
    program.parent.mkdir(parents=True)
    program.write_text(LAUNCHER)
    program.chmod(0o755)
    (program.parent / "python").symlink_to("/usr/bin/python3")
    (stage / "opt/bollard/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    link.parent.mkdir(parents=True)
    link.symlink_to("/opt/bollard/bin/bollard")
    (stage / "etc/bollard/trusted").mkdir()


def _compile(site: Path) -> None:
    """Byte code, since the service may write none; valid without a look at the source."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(
        site, quiet=2, stripdir=str(site.parents[4]), prependdir="/", invalidation_mode=mode, workers=0
    )


def _control(package: str, version: str, arch: str, stage: Path) -> None:
    folder = stage / "DEBIAN"
    folder.mkdir()
    size = sum(file.lstat().st_size for file in stage.rglob("*") if file.is_file()) // 1024
    fields = {
        "Package": package, "Version": version, "Architecture": arch, "Maintainer": MAINTAINER,
        "Installed-Size": size, "Depends": DEPENDS[package].format(version=version), "Section": "misc",
        "Priority": "optional", "Description": ABOUT[package],
    }  # fmt: skip
    (folder / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    (folder / "conffiles").write_text("".join(f"/etc/bollard/{name}\n" for name in CONFFILES[package]))
    for script in (HERE / "scripts").glob(f"{package}.*"):
        target = folder / script.suffix[1:]
        target.write_text(script.read_text().replace("@VERSION@", version))
        target.chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
