"""The demo's end by Ctrl-C, and its answers to bad input."""

import json
import signal
import time
from pathlib import Path

import pytest
from demo_run import demo


def test_ctrl_c_stops_everything_cleanly(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        while not (tmp_path / "pids.json").exists():
            assert process.child.poll() is None, "\n".join(process.said)
            time.sleep(0.05)
        pids = json.loads((tmp_path / "pids.json").read_text())
        process.child.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--span", "soon"], 2, "is no length of time"),
        (["--recording", "nowhere.csv"], 2, "nowhere.csv"),
        (["--broker", "127.0.0.1:1"], 4, "127.0.0.1:1"),
    ],
)
def test_bad_input_gets_one_clear_sentence(tmp_path: Path, options: list[str], code: int, message: str) -> None:
    with demo(tmp_path, *options) as process:
        assert process.wait(60) == code
    text = "\n".join(process.said)
    assert message in text
    assert "Traceback" not in text


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with demo(tmp_path / "file" / "out") as process:
        assert process.wait(60) == 2
    assert "choose another folder with --out" in "\n".join(process.said)
