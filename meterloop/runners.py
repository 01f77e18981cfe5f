"""
Which coroutine is which process, and how its settings become its `Config`.

Imports stand inside the functions: a process loads only its own part of the house.
A child is started as `python -m meterloop.runners KIND SETTINGS.json`.
"""

import asyncio
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from meterloop.config import ConfigError, faults_of
from meterloop.frame import Part, Status, run_process
from protocols.mqtt.broker import BrokerAddress
from protocols.timeline import TimeScale


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process: the class of its configuration and the coroutine that serves."""

    config: Any
    run: Callable[..., Awaitable[None]]


def _simulator() -> Program:
    from simulators.run import SimulatorConfig, run

    return Program(config=SimulatorConfig, run=run)


def _edge() -> Program:
    from edge.config import EdgeConfig
    from edge.run import run

    return Program(config=EdgeConfig, run=run)


def _ingest() -> Program:
    from billing.bills.service.needs import needed
    from cloud.rollups.agent import IngestConfig, run

    return Program(config=IngestConfig, run=partial(run, asked=[needed]))


def _bridge() -> Program:
    with _extra("bridge"):
        from cloud.ingest.runner.bridge import run
        from cloud.ingest.runner.settings import BridgeConfig

    return Program(config=BridgeConfig, run=run)


def _worker() -> Program:
    with _extra("worker"):
        from billing.bills.service.needs import needed
        from cloud.rollups.runner import WorkerConfig, run

    return Program(config=WorkerConfig, run=partial(run, asked=[needed]))


@contextmanager
def _extra(kind: str) -> Iterator[None]:
    """Say which extra a program needs where it is not installed. Raises: ConfigError."""
    try:
        yield
    except ModuleNotFoundError as error:
        fault = f"{kind}: needs {error.name}; run: pip install 'meterloop[distributed]'"
        raise ConfigError("installation", [fault]) from error


def _control() -> Program:
    from cloud.control.agent import ControlConfig
    from cloud.work.agent import run_with_control

    return Program(config=ControlConfig, run=run_with_control)


def _signer() -> Program:
    from cloud.signer.agent import SignerConfig, run

    return Program(config=SignerConfig, run=run)


def _messages() -> Program:
    from cloud.messages.agent import MessagesConfig, run

    return Program(config=MessagesConfig, run=run)


def _billing() -> Program:
    from billing.collections.agent import BillingConfig, run

    return Program(config=BillingConfig, run=run)


def _portal() -> Program:
    from portal.config import PortalConfig

    async def run(config: PortalConfig, **how: Any) -> None:
        # who only asks for the settings, as a supervisor does, needs none of the pages
        from portal.run import run as serve

        await serve(config, **how)

    return Program(config=PortalConfig, run=run)


PROGRAMS: Mapping[str, Callable[[], Program]] = {
    "simulator": _simulator,
    "edge": _edge,
    "ingest": _ingest,
    "bridge": _bridge,
    "worker": _worker,
    "control": _control,
    "signer": _signer,
    "messages": _messages,
    "billing": _billing,
    "portal": _portal,
}


def accepted_keys(kind: str) -> frozenset[str]:
    """Return the names of the settings that a process of `kind` knows."""
    return frozenset(item.name for item in dataclasses.fields(PROGRAMS[kind]().config))


def config_of(kind: str, settings: Mapping[str, Any], *, source: str) -> Any:
    """
    Return the `Config` of a process from settings as they stand in JSON or TOML.

    Raises: ConfigError naming every key at fault.
    """
    program = PROGRAMS[kind]()
    unknown = sorted(set(settings) - accepted_keys(kind))
    if unknown:
        known = ", ".join(sorted(accepted_keys(kind)))
        faults = [f"{kind}.{key}: no such key; known are {known}" for key in unknown]
        raise ConfigError(source, faults)
    try:
        return TypeAdapter(program.config).validate_python(_typed(settings))
    except ValidationError as error:
        raise ConfigError(source, faults_of(error, prefix=kind)) from None
    except ValueError as error:
        raise ConfigError(source, [f"{kind}: {error}"]) from None


def _typed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what is an object everywhere: time scales, MQTT brokers, Kafka clusters."""
    typed = dict(settings)
    for name in ("scale", "time_scale"):
        if isinstance(typed.get(name), str):
            typed[name] = TimeScale.parse(typed[name])
    if isinstance(typed.get("broker"), Mapping):
        typed["broker"] = BrokerAddress(**typed["broker"])
    if isinstance(typed.get("kafka"), Mapping):
        from cloud.ingest.runner.settings import KafkaAddress

        typed["kafka"] = KafkaAddress(**typed["kafka"])
    return typed


def part_of(kind: str, settings: Mapping[str, Any], *, source: str) -> Part:
    """Return the part that serves as `kind`. Raises ConfigError."""
    run, config = PROGRAMS[kind]().run, config_of(kind, settings, source=source)

    async def body(stop: asyncio.Event, ready: Callable[[], None], status: Status) -> None:
        await run(config, stop=stop, ready=ready, status=status)

    return Part(name=kind, run=body)


def told_of(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ready line of a process adds for people: addresses, never secrets."""
    shown = ("concentrator", "host", "port", "listen", "hands_port", "sms_port")
    return {"kind": kind} | {name: settings[name] for name in shown if name in settings}


def main(argv: list[str]) -> int:
    """Serve as one process: KIND SETTINGS.json [NAME]."""
    kind, file = argv[1], Path(argv[2])
    settings = json.loads(file.read_text(encoding="utf-8"))
    try:
        part = part_of(kind, settings, source=str(file))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    name = argv[3] if len(argv) > 3 else kind
    return run_process(name, [part], told=told_of(kind, settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
