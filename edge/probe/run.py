"""
`probe`: every protocol at one address, in the order in which they are most often found there.

A TCP address is asked by the DLMS wrapper, Modbus TCP, HDLC, DL/T 645 and Modbus RTU (gateways
pass serial protocols on); a serial port by HDLC, Modbus RTU, DL/T 645 and the optical sign-on, at
the baud rates and parities usual for each. The first protocol that somebody speaks ends the search.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from edge.links.serial import SerialLink, SerialSettings
from edge.links.tcp import TcpLink
from edge.probe import dlms, dlt645, modbus
from edge.probe.model import (
    Device,
    Line,
    Opener,
    Outcome,
    ProbeOptions,
    ProbeReport,
    Step,
    settings_text,
)
from edge.probe.steps import step_of
from edge.probe.talk import UnreadableError, ask
from protocols.dlms.hdlc import HdlcAddress
from protocols.dlms.mode_e import FIRST_BAUD, Identification, SignOn, sign_on
from protocols.errors import PeerError

PROTOCOLS = ("dlms", "hdlc", "modbus", "rtu", "dlt645", "mode-e")
_MODBUS_PORTS = frozenset({502, 1502})
_HDLC_PHYSICAL = (16, 17)
_FOUR = 4
_SERIAL_ADDRESS = 10_000
"""Many makers take the last four digits of the serial number, plus 1000, as physical address."""
_SIGN_ON = SerialSettings(baud=FIRST_BAUD, data_bits=7, parity="E")
Parity = Literal["N", "E", "O"]


def _settings(*pairs: tuple[int, Parity]) -> tuple[SerialSettings, ...]:
    return tuple(SerialSettings(baud=baud, parity=parity) for baud, parity in pairs)


_USUAL = {
    "hdlc": _settings((9600, "N"), (19200, "N"), (115200, "N"), (4800, "N"), (2400, "N")),
    "rtu": _settings(
        (9600, "N"),
        (19200, "E"),
        (9600, "E"),
        (19200, "N"),
        (2400, "N"),
        (38400, "N"),
        (115200, "N"),
    ),
    "dlt645": _settings((2400, "E"), (9600, "E"), (1200, "E"), (4800, "E")),
    "mode-e": (_SIGN_ON,),
}
_FIRST_ROUND = ("hdlc", "rtu", "dlt645", "mode-e")

OnStep = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class _Trial:
    protocol: str
    settings: SerialSettings


class _Search:
    """One probe under way."""

    def __init__(self, opener: Opener, options: ProbeOptions, on_step: OnStep, *, serial: bool):
        self.steps: list[Step] = []
        self.devices: list[Device] = []
        self._opener = opener
        self._options = options
        self._on_step = on_step
        self._serial = serial

    async def run(self, trials: Iterable[_Trial]) -> None:
        """Try until somebody is understood or the line fails."""
        for trial in trials:
            facts = await self._try(trial)
            if facts:
                self.devices.append(self._device(trial, facts))
                return
            if self.steps and self.steps[-1].outcome is Outcome.FAILED:
                return

    def _note(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.steps.append(step)
            self._on_step(step)

    async def _try(self, trial: _Trial) -> dict[str, Any]:
        seconds = self._options.timeout_seconds
        name = self._name(trial)

        async def line() -> Line:
            return await self._opener(trial.settings)

        match trial.protocol:
            case "dlms":
                facts, steps = await dlms.survey(line, self._wrapper, self._clients(), name)
            case "hdlc":
                return await self._try_hdlc(line, name)
            case "modbus":
                facts, steps = await modbus.survey(
                    line,
                    lambda one, unit: modbus.TcpAsker(one, unit, seconds=seconds),
                    self._options.units or modbus.USUAL_UNITS,
                    name,
                )
            case "rtu":
                facts, steps = await modbus.survey(
                    line,
                    lambda one, unit: modbus.RtuAsker(one, unit, seconds=seconds),
                    self._options.units or (1,),
                    name,
                )
            case "dlt645":
                facts, steps = await dlt645.survey(line, name, seconds=seconds)
            case _:
                facts, steps = await self._try_sign_on(line, name)
        self._note(steps)
        return facts

    async def _wrapper(self, line: Line, client_sap: int) -> dlms.Asker:
        return dlms.WrapperAsker(
            line,
            client_sap,
            server_sap=self._options.server_sap,
            seconds=self._options.timeout_seconds,
        )

    async def _try_hdlc(self, line: Callable[[], Awaitable[Line]], name: str) -> dict[str, Any]:
        """Look for a station at the usual physical addresses, then survey it."""
        for server in self._stations():
            where = f"{name}, server {server.encode().hex().upper()}"

            async def asker(one: Line, client_sap: int, to: HdlcAddress = server) -> dlms.Asker:
                found = dlms.HdlcAsker(
                    one, client_sap, server=to, seconds=self._options.timeout_seconds
                )
                await found.connect()
                return found

            facts, steps = await dlms.survey(line, asker, self._clients(), where)
            self._note(steps)
            if facts:
                return facts | {"hdlc_physical": server.physical, "hdlc_octets": server.octets}
            if steps and steps[-1].outcome in (Outcome.FAILED, Outcome.UNREADABLE):
                return {}
        return {}

    def _stations(self) -> Iterable[HdlcAddress]:
        logical, options = self._options.server_sap, self._options
        if options.hdlc_physical is not None:
            yield HdlcAddress.of_server(logical, options.hdlc_physical)
            if options.hdlc_physical <= 0x7F:
                yield HdlcAddress.of_server(logical, options.hdlc_physical, octets=_FOUR)
            return
        if options.serial_number.isdigit():
            physical = int(options.serial_number) % _SERIAL_ADDRESS + 1000
            yield HdlcAddress.of_server(logical, physical)
        yield HdlcAddress.of_server(logical)
        for physical in _HDLC_PHYSICAL:
            yield HdlcAddress.of_server(logical, physical)
        for physical in _HDLC_PHYSICAL:
            yield HdlcAddress.of_server(logical, physical, octets=_FOUR)

    async def _try_sign_on(
        self, line: Callable[[], Awaitable[Line]], name: str
    ) -> tuple[dict[str, Any], list[Step]]:
        try:
            open_line = await line()
        except PeerError as error:
            return {}, [step_of(name, error)]
        meter = SignOn()
        # 300 baud: the identification alone takes the better part of a second
        seconds = self._options.timeout_seconds + 1.5
        try:
            found: Identification = await ask(
                open_line, sign_on(), meter.identification, seconds=seconds
            )
        except (PeerError, UnreadableError) as error:
            return {}, [step_of(name, error)]
        finally:
            open_line.close()
        facts = {"maker": found.maker, "identification": found.name, "offers_baud": found.baud}
        words = f"{found.maker} {found.name} signs on and offers HDLC at {found.baud} baud"
        return facts, [Step(tried=name, outcome=Outcome.FOUND, words=words)]

    def _clients(self) -> tuple[int, ...]:
        return self._options.client_saps or dlms.USUAL_CLIENTS

    def _name(self, trial: _Trial) -> str:
        return (
            f"{trial.protocol} {settings_text(trial.settings)}"
            if self._serial
            else (trial.protocol)
        )

    def _device(self, trial: _Trial, facts: dict[str, Any]) -> Device:
        return Device(
            protocol=trial.protocol,
            settings=settings_text(trial.settings) if self._serial else "tcp",
            facts=facts,
            read_with=_read_with(trial.protocol, facts),
        )


async def probe(
    address: str, options: ProbeOptions, on_step: OnStep, *, opener: Opener | None = None
) -> ProbeReport:
    """
    Find out who is at `address`: `host:port` or the path of a serial port. Never raises PeerError.

    Raises: ValueError on an address that is none, or a protocol that is none of ours.
    """
    unknown = set(options.protocols) - set(PROTOCOLS)
    if unknown:
        raise ValueError(f"unknown protocol {', '.join(sorted(unknown))}: {', '.join(PROTOCOLS)}")
    serial = "/" in address
    host, port = ("", 0) if serial else split_address(address)
    search = _Search(
        opener or _opener(address, host, port, options), options, on_step, serial=serial
    )
    trials = serial_trials(options) if serial else tcp_trials(port, options)
    await search.run(trials)
    return ProbeReport(address=address, devices=tuple(search.devices), steps=tuple(search.steps))


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`. Raises: ValueError saying what is due."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) <= 0xFFFF or not host.strip("[]"):
        raise ValueError(
            f"{address!r} is no address: give host:port (DLMS 4059, Modbus 502) or the path of a "
            "serial port such as /dev/ttyUSB0"
        )
    return host.strip("[]"), int(port)


def tcp_trials(port: int, options: ProbeOptions) -> list[_Trial]:
    """Return what to try over TCP: what the port is usually for comes first."""
    order = ["dlms", "modbus", "hdlc", "dlt645", "rtu"]
    if port in _MODBUS_PORTS:
        order = ["modbus", "rtu", "dlms", "hdlc", "dlt645"]
    wanted = [name for name in order if not options.protocols or name in options.protocols]
    return [_Trial(name, SerialSettings()) for name in wanted]


def serial_trials(options: ProbeOptions) -> list[_Trial]:
    """Return what to try on a serial port: each protocol's first setting, then all the others."""
    wanted = [name for name in _FIRST_ROUND if not options.protocols or name in options.protocols]
    firsts: list[_Trial] = []
    others: list[_Trial] = []
    for name in wanted:
        every = _allowed(name, options)
        firsts += [_Trial(name, settings) for settings in every[:1]]
        others += [_Trial(name, settings) for settings in every[1:]]
    return firsts + others


def _allowed(protocol: str, options: ProbeOptions) -> list[SerialSettings]:
    usual = list(_USUAL[protocol])
    if protocol == "mode-e":
        return usual
    if options.baud is not None:
        usual = [replace(item, baud=options.baud) for item in usual]
    if options.parity is not None:
        usual = [replace(item, parity=options.parity) for item in usual]
    return list(dict.fromkeys(usual))


def _opener(address: str, host: str, port: int, options: ProbeOptions) -> Opener:
    async def open_line(settings: SerialSettings) -> Line:
        if not host:
            return await SerialLink.open(address, settings)
        return await TcpLink.connect(host, port, seconds=options.timeout_seconds)

    return open_line


def _read_with(protocol: str, facts: dict[str, Any]) -> str:
    match protocol:
        case "dlms" | "hdlc":
            offers = facts.get("clients", {})
            secure = [(sap, kind) for sap, kind in offers.items() if kind in ("hls5", "lls")]
            if not secure:
                return "--protocol dlms --client-sap 16"
            sap, kind = secure[0]
            return f"--protocol dlms --client-sap {sap} --authentication {kind} --keys keys.json"
        case "modbus" | "rtu":
            models = facts.get("models") or ["sunspec" if "sunspec" in facts else "MODEL"]
            return f"--protocol modbus --unit {facts['unit']} --model {models[0]}"
        case "dlt645":
            return f"--protocol dlt645 --serial {facts['address']}"
        case _:
            return "--protocol dlms (link hdlc-serial, mode_e)"
