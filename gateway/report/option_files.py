"""Reads the files that a report takes beside rows: factors, contracts, load curves, targets, grid intensity."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from gateway.config import ReportSettings
from gateway.report.errors import WrongInput
from gateway.report.options import Options


def load_options(settings: ReportSettings, allow_unverified: bool = False) -> Options:
    """Texts of the files that the shore file's table [report] names. Raises: WrongInput."""
    contracts = _text(settings.contracts)
    folder = settings.contracts.parent if settings.contracts else Path()
    return Options(
        factors=_text(settings.factors),
        contracts=contracts,
        load_curves={name: _text(folder / name) for name in _load_curves(contracts)},
        gwp=settings.gwp,
        allow_unverified=allow_unverified,
        grid_factor=settings.grid_factor,
        eua_eur_per_t=settings.eua_eur_per_t,
        pollutants=settings.pollutants,
        targets=_text(settings.targets),
        intensity={path.name: _published(path) for path in settings.grid_intensity},
    )


def _load_curves(contracts: str) -> Iterable[str]:
    """Files that contracts name and that are there; what is wrong with a contract is said where it is parsed."""
    try:
        tables = tomllib.loads(contracts).get("contract", [])
    except tomllib.TOMLDecodeError:
        return ()
    curves = [table.get("load_curve") for table in tables if isinstance(table, dict)]
    return [c["file"] for c in curves if isinstance(c, dict) and isinstance(c.get("file"), str)]


def _published(path: Path) -> str:
    """As the grid operator gives it: UTF-8, or Latin-1 in its older form."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise WrongInput(f"{path}: cannot be read: {error.strerror}; give an existing file") from error
    except UnicodeDecodeError as error:
        raise WrongInput(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
