"""Verbs of a field engineer: who is at this address, record a session, play it back."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from rich.console import Console
from rich.status import Status

from edge.probe.model import Device, Outcome, ProbeOptions, ProbeReport, Step
from edge.probe.run import PROTOCOLS, probe, split_address
from meterloop.cli.answer import FAILED, JsonFlag, failures_told, say
from meterloop.config import ConfigError
from protocols.tape.lines import Tape, TapeError, parse_tape
from simulators.line_faults import LinePlan
from simulators.line_proxy import End, LineProxy, PortEnd
from simulators.tape_player import TapePlayer
from simulators.tape_recorder import TapeRecorder

_MARK = {
    Outcome.FOUND: "[green]found[/]     ",
    Outcome.REFUSED: "[yellow]refused[/]   ",
    Outcome.UNREADABLE: "[yellow]unreadable[/]",
    Outcome.SILENT: "[dim]silent[/]    ",
    Outcome.FAILED: "[red]failed[/]    ",
}
Seconds = Annotated[float, typer.Option("--timeout", min=0.05, help="Seconds per question.")]
Listen = Annotated[str, typer.Option(help="host:port where clients connect; port 0 is chosen.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("probe")(probe_address)
    app.command("record")(record)
    app.command("replay")(replay)


def probe_address(
    address: Annotated[str, typer.Argument(help="host:port, or a serial port's path.")],
    *,
    timeout_seconds: Seconds = 2.0,
    protocol: Annotated[
        list[str] | None, typer.Option(help=f"Try only this; may repeat: {', '.join(PROTOCOLS)}.")
    ] = None,
    client_sap: Annotated[list[int] | None, typer.Option(help="DLMS client addresses.")] = None,
    server_sap: Annotated[int, typer.Option(help="DLMS logical device.")] = 1,
    unit: Annotated[list[int] | None, typer.Option(help="Modbus units.")] = None,
    hdlc_physical: Annotated[int | None, typer.Option(help="HDLC physical address.")] = None,
    serial: Annotated[str, typer.Option(help="Serial number on the plate.")] = "",
    baud: Annotated[int | None, typer.Option(help="Only this baud rate.")] = None,
    parity: Annotated[str | None, typer.Option(help="Only this parity: N, E or O.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Find out who is at an address, how to read it, and why not."""
    with failures_told(as_json=as_json):
        if parity not in (None, "N", "E", "O"):
            raise ConfigError("command line", [f"--parity {parity}: is N, E or O"])
        options = ProbeOptions(
            timeout_seconds=timeout_seconds,
            protocols=tuple(protocol or ()),
            client_saps=tuple(client_sap or ()),
            server_sap=server_sap,
            units=tuple(unit or ()),
            hdlc_physical=hdlc_physical,
            serial_number=serial,
            baud=baud,
            parity=cast("Literal['N', 'E', 'O'] | None", parity),
        )
        try:
            report = _probe(address, options, as_json=as_json)
        except ValueError as error:
            raise ConfigError("command line", [str(error)]) from None
    if as_json:
        say(report.to_plain() | {"ok": report.found}, as_json=True)
    else:
        _tell(report)
    if not report.found:
        raise typer.Exit(FAILED)


def _probe(address: str, options: ProbeOptions, *, as_json: bool) -> ProbeReport:
    """Probe, showing each step as it ends on a terminal, and as plain lines elsewhere."""
    console = Console(file=sys.stderr, highlight=False)
    waiting: contextlib.AbstractContextManager[Status | None] = contextlib.nullcontext()
    if console.is_terminal and not as_json:
        waiting = console.status(f"asking {address}")
    with waiting as status:

        def on_step(step: Step) -> None:
            if as_json:
                return
            console.print(f"{_MARK[step.outcome]} {step.tried}: {step.words}", soft_wrap=True)
            if status is not None:
                status.update(f"asking {address}, last tried {step.tried}")

        return asyncio.run(probe(address, options, on_step))


def _tell(report: ProbeReport) -> None:
    for device in report.devices:
        sys.stdout.write("\n".join(_device_lines(report.address, device)) + "\n")
    if not report.found:
        sys.stderr.write(f"meterloop: nobody at {report.address} was understood\n")
        sys.stderr.write(f"  fix: {report.fix}\n" if report.fix else "")


def _device_lines(address: str, device: Device) -> Iterator[str]:
    yield f"{address} speaks {device.protocol} ({device.settings})"
    for name, value in device.facts.items():
        if name == "object_list":
            continue
        shown: Any = value
        if isinstance(value, dict):
            shown = ", ".join(f"{key}: {item}" for key, item in value.items())
        elif isinstance(value, list):
            shown = ", ".join(str(item) for item in value)
        yield f"  {name.replace('_', ' '):<22} {shown}"
    yield f"  read it                meterloop read METER {device.read_with}"


def record(
    address: Annotated[str, typer.Argument(help="The meter: host:port, or a serial port's path.")],
    *,
    out: Annotated[Path, typer.Option(help="File to write; must not exist.")],
    listen: Listen = "127.0.0.1:0",
    baud: Annotated[int, typer.Option(help="Of the serial port.")] = 9600,
    parity: Annotated[str, typer.Option(help="Of the serial port: N, E or O.")] = "N",
    seconds: Annotated[float, typer.Option(help="End after this long; 0 is Ctrl-C.")] = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Stand between a client and a meter and write what they say, secrets blanked."""
    with failures_told(as_json=as_json):
        started = time.monotonic()
        try:
            proxy = LineProxy(plan=LinePlan(), tap=None)
            if "/" in address:
                proxy.reach = lambda: _serial_end(address, baud, parity)
            else:
                proxy.host, proxy.port = split_address(address)
            host, port = _listen_address(listen)
            with out.open("x", encoding="utf-8") as file:
                tap = TapeRecorder(
                    file,
                    peer=address,
                    started=datetime.now(UTC),
                    elapsed=lambda: time.monotonic() - started,
                )
                proxy.tap = tap
                _serve(_record(proxy, host, port, address, seconds))
        except (OSError, ValueError) as error:
            raise ConfigError("command line", [str(error)]) from None
        text = f"{out}: {tap.pieces} pieces, {tap.withheld} of them withheld"
        answer = {"tape": str(out), "pieces": tap.pieces, "withheld": tap.withheld}
        say(answer, as_json=as_json, text=text)


def replay(
    tape: Annotated[Path, typer.Argument(help="A tape that `record` wrote.")],
    *,
    listen: Listen = "127.0.0.1:0",
    speed: Annotated[float, typer.Option(min=0, help="Times as fast; 0 answers at once.")] = 1.0,
    serial: Annotated[bool, typer.Option("--serial", help="Serve a pseudo-terminal.")] = False,
    frames: Annotated[bool, typer.Option("--frames", help="Print frames as hex and end.")] = False,
    seconds: Annotated[float, typer.Option(help="End after this long; 0 is Ctrl-C.")] = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Answer a client as the meter on the tape answered."""
    with failures_told(as_json=as_json):
        try:
            found = parse_tape(tape.read_text(encoding="utf-8"))
            host, port = _listen_address(listen)
        except TapeError as error:
            raise ConfigError(str(tape), [str(error)]) from None
        except (OSError, ValueError) as error:
            raise ConfigError("command line", [str(error)]) from None
        if frames:
            sys.stdout.write("".join(f"{line}\n" for line in _frame_lines(found)))
            return
        player = TapePlayer(tape=found, speed=speed)
        try:
            _serve(_replay(player, host, port, seconds, serial=serial))
        except OSError as error:
            raise ConfigError("command line", [str(error)]) from None
        text = f"{player.served} sessions served, {player.unknown} requests were not on the tape"
        answer = {"sessions": player.served, "unknown": player.unknown}
        say(answer, as_json=as_json, text=text)


def _frame_lines(tape: Tape) -> Iterator[str]:
    return (piece.octets.hex() for piece in tape.pieces if piece.octets and not piece.withheld)


def _listen_address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--listen {listen}: give host:port, port 0 is chosen")
    return host, int(port)


def _serial_end(path: str, baud: int, parity: str) -> End:
    """Open a serial port at a rate; the descriptor outlives the object that set it up."""
    import os

    import serial as pyserial

    port = pyserial.Serial(path, baudrate=baud, parity=parity, timeout=0, exclusive=True)
    end = PortEnd(os.dup(port.fileno()))
    port.close()
    return end


def _serve(work: Any) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work)


async def _record(proxy: LineProxy, host: str, port: int, address: str, seconds: float) -> None:
    taken = await proxy.listen(port, host)
    _say_ready(f"{host}:{taken}", f"recording {address}; connect to {host}:{taken}, end by Ctrl-C")
    try:
        await _until(seconds)
    finally:
        await proxy.close()


async def _replay(
    player: TapePlayer, host: str, port: int, seconds: float, *, serial: bool
) -> None:
    where = player.open_port() if serial else f"{host}:{await player.listen(host, port)}"
    _say_ready(where, f"playing at {where}; end by Ctrl-C")
    try:
        await _until(seconds)
    finally:
        await player.close()


def _say_ready(where: str, text: str) -> None:
    sys.stderr.write(f"ready {where}\n{text}\n")
    sys.stderr.flush()


async def _until(seconds: float) -> None:
    await asyncio.sleep(seconds if seconds > 0 else 10**9)
