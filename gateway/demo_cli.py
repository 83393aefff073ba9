"""`bollard demo`, the command: demo.py runs it, demo_view.py shows it, demo_result.py concludes."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from dsp.cell import load_cell
from gateway.book import Book
from gateway.config import load_shore
from gateway.demo import EPOCH_NS, Demo, DemoError
from gateway.demo_files import GATEWAY, SITE, DemoOptions, broker_of
from gateway.demo_result import Result, conclude, lines
from gateway.demo_view import Observer, render
from gateway.errors import GatewayError
from gateway.report.issue import Format, issue
from gateway.store import Store
from gateway.texts import LANGS

MONTH = "2026-10"  # of the demo's epoch
LAST_MINUTE_S = 70.0  # simulated time after the span, so that its last minute closes
UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """90, 90s, 15m, 1.5h -> seconds. Raises: typer.BadParameter."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?", text.strip())
    if match is None or float(match[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is no length of time; give it as in 75m, 1h or 900s")
    return float(match[1]) * UNITS[match[2] or "s"]


def demo(
    speed: Annotated[float, typer.Option(min=1.0, max=600.0, help="Simulated seconds per second.")] = 60.0,
    span: Annotated[
        str | None, typer.Option(help="How much of the recording, as in 75m or 1h; all of one call if not given.")
    ] = None,
    interval: Annotated[str, typer.Option(help="Time between scans.")] = "1s",
    recording: Annotated[Path | None, typer.Option(help="Recording of one cell (CSV, may be gzipped).")] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Its columns, as in time=t,voltage=U,current=I,temperature=T,truth=soc; charging is positive."
        ),
    ] = None,
    cell: Annotated[str | None, typer.Option(help="Cell model: nmc, nmc-m50, lfp, or a TOML file.")] = None,
    broker: Annotated[
        str | None, typer.Option(help="Your MQTT broker as HOST:PORT, not the embedded one.")
    ] = None,
    influx: Annotated[str | None, typer.Option(help="Write to this InfluxDB 2 (URL), not to SQLite.")] = None,
    org: Annotated[str, typer.Option(help="InfluxDB organisation.")] = "bollard",
    bucket: Annotated[str, typer.Option(help="Prefix of the three InfluxDB buckets.")] = "demo",
    token: Annotated[str, typer.Option(envvar="BOLLARD_INFLUX_TOKEN", help="InfluxDB token.")] = "",
    out: Annotated[Path, typer.Option(help="Where files, logs and reports go.")] = Path("demo-out"),
    plain: Annotated[bool, typer.Option("--plain", help="One line every 10 s, no redrawing.")] = False,
    most_soc_rmse: Annotated[
        float | None,
        typer.Option(help="Exit 1 if the SoC error is larger (a fraction) or not known.", hidden=True),
    ] = None,
) -> None:
    """A berth and a lock on this machine, from the PLC's register to the monthly report (about 80 s)."""
    if recording is not None and not recording.is_file():
        raise typer.BadParameter(f"{recording}: is not there; give a CSV file", param_hint="--recording")
    if broker is not None and re.fullmatch(r"[^:]+(:\d+)?", broker) is None:
        raise typer.BadParameter(f"{broker!r}; give HOST:PORT, as in 127.0.0.1:1883", param_hint="--broker")
    if cell is not None:
        cell = str(Path(cell).absolute()) if cell.endswith(".toml") else cell
        try:
            load_cell(cell)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--cell") from error
    options = DemoOptions(
        speed, seconds(span) if span else None, seconds(interval), recording, columns, cell, broker,
        influx, org, bucket, token,
    )  # fmt: skip
    os.environ["BOLLARD_INFLUX_TOKEN"] = token  # for the shore process; never written to a file
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    console = Console(stderr=True)
    try:
        result, reports = _run(options, out, console, plain or not console.is_terminal)
    except DemoError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(error.code) from error
    except GatewayError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(130) from None
    except OSError as error:
        remedy = "; choose another folder with --out" if error.filename else ""
        console.print(f"{error.filename or 'demo'}: {error.strerror or error}{remedy}", markup=False)
        raise typer.Exit(2) from error
    for line in (*lines(result), *(str(path) for path in reports)):
        print(line)
    if result.lost or result.doubled or not result.energy_agrees:
        raise typer.Exit(1)
    if most_soc_rmse is not None and not result.soc_rmse <= most_soc_rmse:  # NaN is not enough either
        raise typer.Exit(1)
    if result.waiting:
        raise typer.Exit(3)


def _run(options: DemoOptions, out: Path, console: Console, plain: bool) -> tuple[Result, list[Path]]:
    with Demo(options, out) as running:
        running.start(lambda text: console.print(f"· {text}", markup=False, highlight=False))
        observer = Observer(*broker_of(options, running.broker_port), SITE, GATEWAY)
        try:
            _watch(running, observer, options, console, plain)
            running.finish_edge()
            status = _last_status(observer)
        finally:
            observer.close()
        assert running.control is not None
        store = _open_store(out)
        try:
            result = conclude(store, running.control, status, options.speed)
            return result, _reports(store, out)
        finally:
            store.close()


def _watch(running: Demo, observer: Observer, options: DemoOptions, console: Console, plain: bool) -> None:
    """Until the span has passed: show, and start again what dies."""
    assert running.control is not None
    started_s = time.monotonic()
    said_s, said = -10.0, 0
    live = None if plain else Live(console=console, refresh_per_second=4, transient=False)
    if live is not None:
        live.start()
    try:
        while True:
            running.watch()
            truth = running.control.ask(get="truth")
            left_s = running.berth["span_s"] + LAST_MINUTE_S - (truth["t_ns"] - EPOCH_NS) / 1e9
            real_s = time.monotonic() - started_s
            with observer.lock:
                if live is not None:
                    live.update(render(observer.seen, truth, real_s, left_s / options.speed, running.restarts))
                for restart in running.restarts[said:]:
                    (live.console if live is not None else console).print(
                        f"· {restart}", markup=False, highlight=False
                    )
                said = len(running.restarts)
                if live is None and real_s - said_s >= 10.0:
                    said_s = real_s
                    console.print(
                        _line(observer, truth, left_s / options.speed),
                        markup=False,
                        highlight=False,
                        soft_wrap=True,
                    )
            if left_s <= 0:
                return
            time.sleep(0.25)
    finally:
        if live is not None:
            live.stop()


def _line(observer: Observer, truth: dict[str, Any], left_s: float) -> str:
    seen = observer.seen
    soc = seen.rows.get(("soc", "ferry-bms"))
    estimate = f"{100 * float(soc.fields['soc']):.1f}" if soc else "—"
    true = "unknown" if truth["soc"] is None else f"{100 * truth['soc']:.1f} %"
    return (
        f"{left_s:4.0f} s to go: power {truth['power_w'] / 1e6:.2f} MW, SoC {estimate} % (true {true}),"
        f" rows sent {seen.sent}, confirmed {seen.confirmed}"
    )


def _last_status(observer: Observer) -> dict[str, Any]:
    """What the edge said when it stopped."""
    end_s = time.monotonic() + 10.0
    while time.monotonic() < end_s:
        with observer.lock:
            if observer.seen.status.get("state") == "offline" and "sealed" in observer.seen.status:
                return dict(observer.seen.status)
        time.sleep(0.05)
    raise DemoError("the edge agent left without its last status; see edge.log in the output folder", 1)


def _open_store(out: Path) -> Store:
    return load_shore(out / "shore.toml").store.open()


def _reports(store: Store, out: Path) -> list[Path]:
    book = Book(out / "book.db")
    try:
        made = issue(store, book, MONTH, SITE)
    finally:
        book.close()
    names = {made.name(kind, language): (kind, language) for language in LANGS for kind in Format}
    for name, (kind, language) in names.items():
        (out / name).write_bytes(made.render(kind, language))
    return [out / name for name in names]
