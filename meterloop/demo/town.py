"""
The demo's files: fleet, clock, keys, sign-in words, agents' lists, installation; then its records.

Everything is written once and read back at the next start, so a second run goes on where the first
one ended: same meters, same registers, same people, business time only ever forward.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from billing.customers import service as customers
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.assets import service as assets
from cloud.control import service as control
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.work import service as work
from meterloop.config import (
    ConcentratorSection,
    Installation,
    TimeSection,
    to_toml,
    write_private,
)
from meterloop.demo import seed
from meterloop.demo.people import person
from meterloop.embedded.broker import free_port
from portal.auth import service as access
from portal.auth.model import Role, UserSpec
from protocols.timeline import TimeScale, floor_to_grid
from simulators.endpoints import FleetState, allocate, load_state
from simulators.fleet import CLOSE_ALLOWED_SECONDS, Fleet, make_fleet

BANK_CHANNEL = "bank"
_MARGIN_WALL_SECONDS = 3.0
"""Business time restarts this far past the last noted instant, which may be a second old."""

STAFF: tuple[tuple[str, str, str, tuple[Role, ...]], ...] = (
    ("reza", "Reza Ahmadi", "en", (Role.OPERATOR,)),
    ("lin", "林静", "zh", (Role.APPROVER,)),
    ("aziz", "Aziz Karimov", "uz", (Role.CREW,)),
    ("vera", "Вера Лебедева", "ru", (Role.TELLER,)),
)
RESIDENTS: dict[str, int] = {"maryam": 42, "nigora": 43, "aziza": 60, "jasur": 77}
CREW_PHONE = "+998901112233"


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """What the story and the table need of the demo's files."""

    installation: Installation
    fleet: Fleet
    scale: TimeScale
    credentials: dict[str, str]
    bank_key: str
    hands_url: str


def prepare(data: Path, *, seed_number: int, speed: int, port: int, dlt645: int = 0) -> Town:
    """
    Write or read back every file of the demo in `data` and return what they say.

    Raises: EndpointError or ValueError when a file in the folder is damaged.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    scale = _time(data, speed=speed)
    state = _fleet(data, seed_number=seed_number, scale=scale, dlt645=dlt645)
    fleet = state.fleet
    secrets_found = _secrets(data)
    hands_port, sms_port = free_port(), free_port()
    _agents(data, state)
    installation = Installation(
        name="demo",
        data=data,
        time=TimeSection(scale=str(scale)),
        concentrator=tuple(
            ConcentratorSection(
                id=name,
                meters_file=str(data / "edge" / f"{name}.meters.json"),
                keys_file=str(data / "edge" / f"{name}.keys.json"),
            )
            for name in seed.concentrators(fleet)
        ),
        simulator={
            "seed": fleet.seed,
            "truth": str(data / "simulator" / "truth.sqlite"),
            "fleet_file": str(data / "simulator" / "fleet.json"),
            "hands_port": hands_port,
            "sms_port": sms_port,
        },
        messages={"gateway_url": f"http://127.0.0.1:{sms_port}"},
        portal={
            "port": port,
            "demo": True,
            "demo_credentials_file": str(data / "keys" / "credentials.json"),
        },
    )
    write_private(data / "installation.toml", to_toml(installation))
    return Town(
        installation=installation,
        fleet=fleet,
        scale=scale,
        credentials={name: word for name, word in secrets_found.items() if name != "bank_api_key"},
        bank_key=secrets_found["bank_api_key"],
        hands_url=f"http://127.0.0.1:{hands_port}",
    )


def note_time(data: Path, scale: TimeScale) -> None:
    """Write down the present business instant, so that the next start goes on after it."""
    now = scale.at(datetime.now(UTC))
    write_private(data / "time.json", json.dumps({"now": now.isoformat(), "speed": scale.speed}))


def fill(db: Database, town: Town, *, clock: Clock) -> None:
    """Register assets, tariff, customers, supplies and people; doing it again changes nothing."""
    now = clock.now()
    assets.register(db, seed.assets_of(town.fleet), now=now)
    rating.publish(db, tariffs.shipped(seed.TARIFF), actor="user:reza", now=now)
    customers.register(db, seed.customers_of(town.fleet), now=now)
    control.set_policy(
        db,
        actor="user:lin",
        now=now,
        window_start_hour=7,
        window_end_hour=21,
        weekdays=[1, 2, 3, 4, 5, 6, 7],
        max_cuts_per_hour=50,
    )
    work.set_crew(db, crew="aziz", phone=CREW_PHONE, language="uz", now=now)
    access.ensure_users(db, _people(town), now)
    access.ensure_api_key(
        db,
        name="demo bank",
        channel=BANK_CHANNEL,
        secret=town.bank_key,
        scopes=["payments"],
        now=now,
    )


def _people(town: Town) -> list[UserSpec]:
    staff = [
        UserSpec(login=login, name=name, language=language, roles=roles,
                 password=town.credentials[login])
        for login, name, language, roles in STAFF
    ]  # fmt: skip
    residents = []
    for login, number in RESIDENTS.items():
        who = person(number)
        residents.append(
            UserSpec(
                login=login, name=who.name, language=who.language, roles=(Role.CUSTOMER,),
                password=town.credentials[login], usage_points=(f"UP-{number:06d}",),
            )
        )  # fmt: skip
    return staff + residents


def _time(data: Path, *, speed: int) -> TimeScale:
    wall = datetime.now(UTC)
    file = data / "time.json"
    if not file.exists():
        origin = floor_to_grid(wall, 3600)
    else:
        found = json.loads(file.read_text(encoding="utf-8"))
        margin = timedelta(seconds=_MARGIN_WALL_SECONDS) * int(found["speed"])
        origin = datetime.fromisoformat(found["now"]) + margin
    scale = TimeScale(wall_origin=wall, origin=origin, speed=speed)
    note_time(data, scale)
    return scale


def _fleet(data: Path, *, seed_number: int, scale: TimeScale, dlt645: int) -> FleetState:
    file = data / "simulator" / "fleet.json"
    file.parent.mkdir(exist_ok=True, mode=0o700)
    if not file.exists():
        fleet = make_fleet(
            seed=seed_number,
            origin=scale.origin,
            dlt645=dlt645,
            # a minute for whoever stands at the breaker, however fast a day passes
            close_allowed_seconds=CLOSE_ALLOWED_SECONDS * scale.speed,
        )
        allocate(fleet, file)
    return load_state(file)


def _secrets(data: Path) -> dict[str, str]:
    file = data / "keys" / "credentials.json"
    names = [login for login, *_ in STAFF] + list(RESIDENTS)
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in names:
        found.setdefault(name, secrets.token_urlsafe(9))
    found.setdefault("bank_api_key", f"meterloop_live_{secrets.token_urlsafe(24)}")
    write_private(file, json.dumps(found, indent=1))
    return found


def _agents(data: Path, state: FleetState) -> None:
    addresses = {
        str(meter): (endpoint.host, endpoint.port) for meter, endpoint in state.endpoints.items()
    }
    for name in seed.concentrators(state.fleet):
        meters = seed.edge_meters(state.fleet, name, addresses)
        write_private(data / "edge" / f"{name}.meters.json", json.dumps(meters, indent=1))
        keys = data / "edge" / f"{name}.keys.json"
        write_private(keys, json.dumps(seed.edge_keys(state.fleet, name), indent=1))
