"""
Which port each simulated meter listens on, kept in one file that outlives the simulator.

Agents are told these ports before the simulator starts, so they are chosen first and kept: a
simulator that was killed comes back where its agents look for it.
"""

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from protocols.identity import MeterId
from simulators.fleet import Fleet

FIRST_PORT = 15_000
LAST_PORT = 31_999
"""Below the range from which systems draw ports of outgoing connections, which would collide."""
FIRST_FACE, LAST_FACE = 14_000, FIRST_PORT - 1
"""Where the simulator's own HTTP faces listen: apart, for a meter may be given a port later."""


class EndpointError(RuntimeError):
    """The file does not fit, or no ports are left; says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one meter listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """The fleet and where its meters listen."""

    fleet: Fleet
    endpoints: dict[MeterId, Endpoint]


def allocate(fleet: Fleet, path: Path, host: str = "127.0.0.1") -> dict[MeterId, Endpoint]:
    """
    Return where each meter of `fleet` listens, choosing free ports and writing `path` if need be.

    Call it before anything starts; called again for the same fleet it answers the same.

    Raises: EndpointError when `path` belongs to another fleet or ports run out.
    """
    if path.exists():
        state = load_state(path)
        if state.fleet != fleet:
            raise EndpointError(f"{path} belongs to another fleet; give another file or remove it")
        return state.endpoints
    endpoints = _choose(fleet, host)
    _write(path, FleetState(fleet=fleet, endpoints=endpoints))
    return endpoints


def load_state(path: Path) -> FleetState:
    """Return what `allocate` wrote. Raises: EndpointError when the file is damaged."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return FleetState(
            fleet=Fleet.from_json(json.dumps(plain["fleet"])),
            endpoints={
                MeterId(meter): Endpoint(host=str(found["host"]), port=int(found["port"]))
                for meter, found in plain["endpoints"].items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EndpointError(f"{path} is no fleet file: {error}"[:300]) from error


def free_port(host: str = "127.0.0.1") -> int:
    """Return one port that is free now, for the simulator's own HTTP faces."""
    with ExitStack() as held:
        return next(_free(host, FIRST_FACE, LAST_FACE, held))


def _choose(fleet: Fleet, host: str) -> dict[MeterId, Endpoint]:
    with ExitStack() as held:
        ports = _free(host, FIRST_PORT, LAST_PORT, held)
        return {meter.meter: Endpoint(host=host, port=next(ports)) for meter in fleet.meters}


def _free(host: str, first: int, last: int, held: ExitStack) -> Iterator[int]:
    # two installations that start together must not look at the same ports in the same order;
    # every socket stays bound until all are chosen, else one port could be chosen twice
    start = first + secrets.randbelow(last - first + 1)
    for port in (*range(start, last + 1), *range(first, start)):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            candidate.bind((host, port))
        except OSError:
            candidate.close()
            continue
        held.enter_context(candidate)
        yield port
    raise EndpointError(f"no free port is left on {host} between {first} and {last}")


def _write(path: Path, state: FleetState) -> None:
    text = json.dumps({
        "fleet": json.loads(state.fleet.to_json()),
        "endpoints": {
            meter: {"host": found.host, "port": found.port}
            for meter, found in state.endpoints.items()
        },
    })  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(path.suffix + ".new")
    draft.touch(mode=0o600)  # it holds the meters' keys
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
