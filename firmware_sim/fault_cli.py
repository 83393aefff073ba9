"""`bollard sim fault` and `bollard sim faults`: switch faults of a running simulator, list those there are."""

from typing import Annotated, Any, Literal, NoReturn

import typer

from firmware_sim.fault_kinds import KINDS
from firmware_sim.running import NotRunningError, Running, ask, simulator

WRONG_INPUT, UNREACHABLE = 2, 4
ControlPort = Annotated[
    int | None,
    typer.Option(
        "--control-port", min=1, max=65_535, help="of the simulator, as in its ready line; by default the only one"
    ),
]


def fault(
    name: Annotated[str, typer.Argument(help="a fault, as `bollard sim faults` lists them")],
    state: Annotated[str, typer.Argument(metavar="on|off")],
    device: Annotated[str | None, typer.Option(help="which device; may be left out if it fits only one")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="key=value, may be given several times")
    ] = None,
    port: ControlPort = None,
) -> None:
    """Switch a fault of a running simulator on or off."""
    if state not in ("on", "off"):
        _leave(f"{state!r}: write on or off", WRONG_INPUT)
    options: dict[str, Any] = {}
    for pair in option or []:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            _leave(f"--option {pair!r}: write key=value", WRONG_INPUT)
        options[key.strip()] = value.strip()
    request = {"fault": name, "on": state == "on", "device": device, "options": options}
    hit, answer = _asked(request, port)
    if "error" in answer:
        _leave(str(answer["error"]), WRONG_INPUT)
    if answer["on"]:
        typer.echo(f"{_line(answer)}  ({hit})")
    for ended in answer.get("ended", []):
        typer.echo(f"off  {ended['fault']}  {ended['device']}  ({hit})")
    if not answer["on"] and not answer["ended"]:
        typer.echo(f"{name} was not on ({hit})", err=True)


def faults(
    scope: Annotated[
        Literal["transport", "value", "plant", "opcua"] | None, typer.Option(help="only these")
    ] = None,
    port: ControlPort = None,
) -> None:
    """List the faults there are with their options, then those that are on."""
    for kind in KINDS.values():
        if scope in (None, kind.scope):
            typer.echo(f"{kind.name:34} {kind.scope:9} {kind.text}")
            for key, option in kind.options.items():
                default = option.default if option.default != "" else "–"
                typer.echo(f"{'':34} {'':9}   {key} = {default}: {option.text}; {option.allowed}")
    try:
        asked = simulator(port)
        active = ask(asked.control, {"get": "faults"})["active"]
    except NotRunningError as error:
        if port is not None:
            _leave(str(error), UNREACHABLE)
        return
    typer.echo(f"\n{asked}:")
    for one in active:
        typer.echo(_line(one))
    if not active:
        typer.echo("none is on")


def _line(one: dict[str, Any]) -> str:
    options = " ".join(f"{key}={value}" for key, value in one["options"].items())
    return f"on   {one['fault']}  {one['device']}  {options}".rstrip()


def _asked(request: dict[str, Any], port: int | None) -> tuple[Running, dict[str, Any]]:
    """The simulator, and its answer."""
    try:
        found = simulator(port)
        return found, ask(found.control, request)
    except NotRunningError as error:
        _leave(str(error), UNREACHABLE)


def _leave(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
