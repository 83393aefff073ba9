"""Every incoherence of the core, planted into a simulated lock, reaches the page with a supervisor's sentence."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import plant_faults as pf
import plant_locks as pl
import pytest
from conftest import ROOT
from lock_scans import PLAIN, load, rows_of
from shore import SPOOL
from web_shore import Shore, filled, shore

from drivers.row import Row
from dsp.lock_rules import RULES
from edge import wire
from edge.config import catalogue
from edge.pipeline import Pipeline
from firmware_sim.plant.lock import PRESETS
from gateway.intake import Intake, Message
from gateway.texts import LANGS, load_texts

__all__ = ["filled", "shore"]  # fixtures
pytestmark = pytest.mark.usefixtures("kernels")
SEED, SECONDS, FAULT_S = 3, 14_000, 3600
LEAD_S = 120  # of truthful scans before the fault
SCANS = 2  # from the first scan that shows it to the one that tells it
README = (ROOT / "gateway" / "web" / "README.md").read_text(encoding="utf-8")


def begins_s(fault: str) -> int:
    """When the fault is planted: as a boat is let in, or while the chamber fills."""
    day = pl.run(pl.lock_of(PRESETS["fall-4.9"], SEED), SECONDS, SEED)
    lockage = next(x for x in day.lockages if "exit" in x.phases and x.vessel and x.start_s > LEAD_S)
    return int(lockage.phases["levelling"] + 20) if fault == "lock-mode-change-in-cycle" else int(lockage.start_s)


def shows_s(fault: str, at_s: int) -> int:
    """The first second at which its words hold, by the slow twin of the rules."""
    lock = pl.lock_of(PRESETS["fall-4.9"], SEED)
    if fault in pf.IN_THE_PLANT:
        pf.plant(lock, fault, at_s, at_s + FAULT_S)
    day = pl.run(lock, at_s + FAULT_S, SEED)
    if fault not in pf.IN_THE_PLANT:
        pf.show(day, fault, at_s, at_s + FAULT_S)
    topology, areas_m2 = pf.topology_of(lock)
    _, phases = pf.lockages(day, areas_m2)
    held = pf.shown(day, topology, phases)[pf.RULE_OF[fault]]
    return day.first_s + 1 + int(held.argmax())


def scans(fault: str, at_s: int, loaded: object) -> Iterator[Row]:
    """What the lock's PLC shows from a while before the fault on, in simulated seconds."""
    lock = pl.lock_of(PRESETS["fall-4.9"], SEED)
    lock.device = "lock"
    frozen = fault == "frozen-heartbeat"  # what a PLC shows, and not what its lock does
    if not frozen:
        pf.plant(lock, fault, at_s, at_s + FAULT_S)
    beat = loaded.profiles["lock"].index["heartbeat"]  # type: ignore[attr-defined]
    held = 0.0
    for second, row in zip(count(at_s - LEAD_S), rows_of(loaded, lock, range(at_s - LEAD_S, at_s + FAULT_S))):  # type: ignore[arg-type]
        if second <= at_s:
            held = row.values[beat]
        elif frozen:
            row.values[beat] = held
        yield row


@pytest.mark.parametrize("fault", pf.RULE_OF)
def test_an_incoherence_reaches_the_page_within_its_scans(shore: Shore, tmp_path: Path, fault: str) -> None:
    """From the scan through the edge's computations, a batch, ingest and the broker's message to the API."""
    rule, at_s = pf.RULE_OF[fault], begins_s(fault)
    loaded = load(tmp_path, PLAIN)
    said = catalogue(loaded)
    intake = Intake(shore.hub.store, shore.hub.book)
    announce = Message(wire.topic("canal", "gw", "catalogue"), said.encode())
    intake.take([announce])
    shore.hub.heard(announce.topic, announce.payload)
    pipeline, sent = Pipeline(loaded), 0
    for number, row in enumerate(scans(fault, at_s, loaded)):
        pipeline.take("lock", row)
        lines = [entry.line for entry in pipeline.entries]
        pipeline.entries.clear()
        if any(wire.decode_row(line).tags.get("code") == f"lock_{rule}" for line in lines):
            body = wire.body_of(lines)
            header = wire.Header("canal", "gw", SPOOL, number, "events", len(lines), wire.crc32(body))
            message = Message(wire.topic("canal", "gw", "data"), wire.encode_batch(header, body))
            assert intake.take([message]), "the shore confirms it"
            shore.hub.heard(message.topic, message.payload)
            sent = row.t_ns
            break
    assert sent, f"{rule} was never told"
    found = shore.get("alarms", site="canal").json()["alarms"]
    (alarm,) = (a for a in found if a["code"] == f"lock_{rule}")  # one thing may well break two rules
    told_s = at_s - LEAD_S + number
    assert (alarm["device"], alarm["state"]) == ("lock", "unacknowledged")
    assert alarm["since_ms"] == sent // 1_000_000
    assert abs(told_s - shows_s(fault, at_s)) <= SCANS  # the twin's levels have a noise of their own
    for lang in LANGS:
        assert re.fullmatch(pattern_of(f"event.lock_{rule}.begin", lang), alarm["text"][lang]), alarm["text"]


def pattern_of(key: str, lang: str) -> str:
    """A sentence with something in each of its places: a name or a number, not a gap."""
    template = load_texts(lang).template(key)
    assert template is not None
    return re.sub(r"\\{\w+\\}", r"[\\w.,+−' -]+", re.escape(template))


def test_the_readme_has_the_sentence_of_every_rule() -> None:
    for rule in RULES:
        said = [str(load_texts(lang).template(f"event.lock_{rule}.begin")) for lang in LANGS]
        assert f"| `{rule}` | {said[0]} | {said[1]} |" in README, f"| `{rule}` | {said[0]} | {said[1]} |"
