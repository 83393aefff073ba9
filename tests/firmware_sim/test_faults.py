"""The registry of faults, and the board that remembers when each was on."""

import pytest

from firmware_sim.faults import KINDS, NO_FAULTS, DeviceTraits, FaultBoard, FaultError

S = 10**9
DEVICES = {
    "meter-1": DeviceTraits("meter", "modbus-tcp", frozenset({"power_w"})),
    "meter-2": DeviceTraits("meter", "modbus-rtu", frozenset({"power_w"})),
    "lock-1": DeviceTraits("lock", "modbus-tcp", frozenset({"mode"}), {"nan": frozenset()}),
    "bms": DeviceTraits("battery", "opcua", frozenset({"soc_bms"})),
}


class Clock:
    def __init__(self) -> None:
        self.t_ns = 0

    def __call__(self) -> int:
        return self.t_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> FaultBoard:
    return FaultBoard(DEVICES, clock)


def test_every_fault_of_the_issue_has_a_name() -> None:
    assert set(KINDS) == {
        *[
            "silence",
            "refuse-connections",
            "reset-connections",
            "slow-bytes",
            "half-frame",
            "garbage",
            "wrong-unit",
        ],
        *["wrong-transaction", "late-answer", "doubled-answer", "short-answer", "long-answer", "wrong-function"],
        *["exception", "busy-then-fine", "second-master", "nan", "sentinel", "stuck", "spike", "swapped-words"],
        *["counter-rollover", "counter-reset", "counter-replacement", "counter-backwards", "clock-jump"],
        *["frozen-heartbeat", "server-restart", "session-drop", "silent-subscription", "unknown-node"],
        "breaker-welded",
        *["bad-sensor-failure", "lock-opposite-sluice-open", "lock-sluice-open-while-gate-closes"],
        *["lock-opposite-gates-open", "lock-gate-opens-under-head", "lock-green-light-gate-closed"],
        "lock-opposite-sluices-open",
        *["lock-level-moves-all-closed", "lock-level-still-sluice-open", "lock-mode-change-in-cycle"],
    }


def test_defaults_are_within_their_own_bounds() -> None:
    for kind in KINDS.values():
        assert kind.complete({}) == {key: option.default for key, option in kind.options.items()}


def test_a_fault_holds_from_its_switching_on_to_its_switching_off(board: FaultBoard, clock: Clock) -> None:
    assert board.untouched("meter-1")
    clock.t_ns = 5 * S
    fault = board.on("silence", "meter-1", rate=0.5)
    assert (fault.since_ns, fault.options) == (5 * S, {"rate": 0.5})
    assert board.active() == (fault,)
    assert board.get("meter-1", "silence") == fault
    assert board.get("meter-2", "silence") is None
    clock.t_ns = 9 * S
    assert board.off("silence") == (fault,)
    assert board.active("meter-1") == ()
    assert not board.untouched("meter-1")


def test_the_past_is_told_as_it_was(board: FaultBoard, clock: Clock) -> None:
    clock.t_ns = 5 * S
    board.on("counter-reset", "meter-1", to_wh=3)
    clock.t_ns = 9 * S
    board.off("counter-reset", "meter-1")
    clock.t_ns = 100 * S
    assert board.at("meter-1", 4 * S).get("counter-reset") is None
    assert board.at("meter-1", 4 * S).begun("counter-reset") == ()
    held = board.at("meter-1", 6 * S).get("counter-reset")
    assert held is not None and held.number("to_wh") == 3
    assert board.at("meter-1", 9 * S).get("counter-reset") is None
    assert [f.until_ns for f in board.at("meter-1", 50 * S).begun("counter-reset")] == [9 * S]
    assert board.at("bms", 5 * S) is NO_FAULTS


def test_switching_on_again_begins_anew_with_the_new_options(board: FaultBoard, clock: Clock) -> None:
    board.on("exception", "meter-1", code=2)
    clock.t_ns = 7 * S
    board.on("exception", "meter-1", code=4)
    (active,) = board.active()
    assert (active.since_ns, active.options["code"]) == (7 * S, 4)
    earlier = board.at("meter-1", 6 * S).get("exception")
    assert earlier is not None and earlier.options["code"] == 2


def test_a_script_says_when_something_changes(board: FaultBoard) -> None:
    board.plan("silence", "meter-1", 10 * S, 20 * S, {})
    board.plan("garbage", "lock-1", 15 * S, None, {})
    assert [board.next_change_ns(t * S) for t in (0, 10, 15, 20)] == [10 * S, 15 * S, 20 * S, None]
    assert board.at("meter-1", 12 * S).get("silence") is not None
    assert board.at("meter-1", 20 * S).get("silence") is None


def test_a_device_may_be_left_out_where_only_one_fits(board: FaultBoard) -> None:
    assert board.on("second-master").device == "meter-2"
    assert board.on("session-drop").device == "bms"
    with pytest.raises(FaultError, match="name the device, one of meter-1, meter-2"):
        board.on("counter-reset")


@pytest.mark.parametrize(
    ("name", "device", "options", "sentence"),
    [
        ("quiet", "meter-1", {}, "'quiet' is not one of bad-sensor-failure, breaker-welded, busy-then-fine"),
        ("silence", "meter-9", {}, "'meter-9' is not one of meter-1, meter-2, lock-1, bms"),
        ("session-drop", "meter-1", {}, "does not fit meter-1, a meter over modbus-tcp; it fits bms"),
        ("silence", "meter-1", {"rate": 1.5}, r"rate = 1\.5; give a number from 0 to 1"),
        ("silence", "meter-1", {"rate": float("nan")}, "rate = nan"),
        ("silence", "meter-1", {"share": 1}, "option 'share' is not one of: rate"),
        ("exception", "meter-1", {"code": "four"}, "code = 'four'; give a whole number from 1 to 255"),
        ("exception", "meter-1", {"code": 2.5}, r"code = 2\.5; give a whole number"),
        ("stuck", "meter-1", {"point": "soc_bms"}, "'soc_bms' is not one of power_w"),
        ("nan", "lock-1", {}, "no point of lock-1 can have it"),
        ("lock-opposite-sluice-open", "lock-1", {"head": "left"}, "head = 'left'; give .* or up or down"),
    ],
)
def test_what_cannot_be_is_said_with_what_can(
    board: FaultBoard, name: str, device: str, options: dict[str, float | str], sentence: str
) -> None:
    with pytest.raises(FaultError, match=sentence):
        board.on(name, device, **options)
    assert board.active() == ()


def test_options_may_come_as_text_from_a_command_line(board: FaultBoard) -> None:
    fault = board.on("exception", "meter-1", code="6", rate="0.25")
    assert (fault.options["code"], fault.options["rate"]) == (6, 0.25)


def test_listeners_hear_each_switch(board: FaultBoard) -> None:
    heard: list[str] = []
    board.listen(heard.append)
    board.on("silence", "meter-1")
    board.off("silence")
    assert heard == ["meter-1", "meter-1"]
