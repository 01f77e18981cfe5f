"""
The fleet: which meters exist, where they hang and what was planted among them.

`make_fleet` is pure: one seed, one fleet. Concentrators serve two transformers, a transformer has
one head meter and up to 25 customers. Every 20 customers are nine DLMS with HLS5-GMAC, six DLMS
with LLS and five Modbus TCP.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from protocols.dlt645.relay import ARMS, CLOSES
from protocols.identity import ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.timeline import floor_to_grid
from simulators.load import SHAPES, Household, key_of

CUSTOMERS_PER_TRANSFORMER = 25
TRANSFORMERS_PER_CONCENTRATOR = 2
HISTORY = timedelta(days=2)
"""Meters have hung this long when the simulation begins, so there is something to backfill."""

DLT645_STEP_WH = 10
"""A DL/T 645 register shows hundredths of a kWh."""
CLOSE_ALLOWED_SECONDS = 60
"""An external breaker may be closed by hand so long after its trip. *Source*: requirement D11."""

HEAD_LOSS_PERMILLE = 34
"""Technical loss between head meter and customers."""

_BYTES = ("password", "authentication_key", "encryption_key", "system_title")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """What is special about one numbered customer."""

    name: str
    authentication: str
    control_mode: int
    daily_wh: int
    clock_offset_ms: int = 0


PLANTED: dict[int, Plant] = {
    42: Plant(name="story", authentication="hls5", control_mode=4, daily_wh=11_000),
    43: Plant(name="arms", authentication="hls5", control_mode=3, daily_wh=9_000),
    60: Plant(name="race", authentication="lls", control_mode=4, daily_wh=9_500),
    77: Plant(name="stuck_relay", authentication="hls5", control_mode=4, daily_wh=10_000),
    88: Plant(name="protected", authentication="lls", control_mode=4, daily_wh=26_000),
    110: Plant(name="drift", authentication="lls", control_mode=4, daily_wh=6_000,
               clock_offset_ms=7 * 60_000),
    120: Plant(name="silent", authentication="lls", control_mode=4, daily_wh=6_500),
    150: Plant(name="tier", authentication="hls5", control_mode=4, daily_wh=14_000),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SimMeter:
    """
    One simulated meter and where it hangs.

    *Units*: `opening_register_wh` is what the register shows at the fleet's `history_from`;
    the device clock shows true time + `clock_offset_ms` then and gains `clock_drift_ppm` on it.
    `control_mode` is None where there is no relay. `authentication` is `lls`, `hls5` or, for
    Modbus, `none`. Keys exist only in simulation. `close_allowed_seconds` (business time, as the
    meter counts it) makes the switch an external breaker that only a hand closes, from so long
    after a trip on; None is a relay inside the meter.
    """

    number: int
    meter: MeterId
    usage_point: UsagePointId
    transformer: TransformerId
    concentrator: ConcentratorId
    kind: str
    protocol: str
    model: str
    authentication: str = "none"
    password: bytes = field(default=b"", repr=False)
    authentication_key: bytes = field(default=b"", repr=False)
    encryption_key: bytes = field(default=b"", repr=False)
    system_title: bytes = b""
    interval_seconds: int | None = None
    control_mode: int | None = None
    modbus_unit: int = 1
    serial: str = ""
    clock_offset_ms: int = 0
    clock_drift_ppm: int = 0
    opening_register_wh: int = 0
    daily_wh: int = 0
    shape: int = 0
    planted: str = ""
    source: str = ""
    """Customer of the recorded series that drives this meter; empty when the load is made up."""
    close_allowed_seconds: int | None = None
    link: str = "wrapper"
    """How a DLMS meter hangs on its port: `wrapper` or `hdlc-tcp`."""
    serial_line: str = ""
    """Path of the serial line on which a DLMS meter hangs in HDLC instead of listening."""

    @property
    def has_external_breaker(self) -> bool:
        """Tell whether a hand alone can close the switch."""
        return self.close_allowed_seconds is not None

    @property
    def register_step_wh(self) -> int:
        """Return the smallest step of the energy register as the meter shows it."""
        return DLT645_STEP_WH if self.protocol == "dlt645" else 1

    @property
    def has_relay(self) -> bool:
        """Tell whether the meter can be told to open."""
        return self.control_mode is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All meters of one installation; meters show their opening registers at `history_from`."""

    seed: int
    origin: datetime
    history_from: datetime
    meters: tuple[SimMeter, ...]

    @property
    def customers(self) -> Iterator[SimMeter]:
        """Yield the meters that hang at customers, in order of number."""
        return (meter for meter in self.meters if meter.kind == "customer")

    @property
    def heads(self) -> Iterator[SimMeter]:
        """Yield the head meters of the transformers."""
        return (meter for meter in self.meters if meter.kind == "head")

    def meter(self, meter: str) -> SimMeter:
        """Return one meter. Raises: KeyError when the fleet has no such meter."""
        for found in self.meters:
            if found.meter == meter:
                return found
        raise KeyError(meter)

    def planted(self, name: str) -> SimMeter:
        """Return the meter planted as `name`. Raises: KeyError when this fleet has none."""
        for found in self.meters:
            if found.planted == name:
                return found
        raise KeyError(name)

    def household(self, meter: SimMeter) -> Household:
        """Return who draws behind a customer's meter."""
        return Household(
            key=key_of(self.seed, meter.meter, "load"), daily_wh=meter.daily_wh, shape=meter.shape
        )

    def to_json(self) -> str:
        """Return the text that `from_json` reads back; it holds the simulated keys."""
        return json.dumps({
            "seed": self.seed,
            "origin": self.origin.isoformat(),
            "history_from": self.history_from.isoformat(),
            "meters": [_to_plain(meter) for meter in self.meters],
        })  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> "Fleet":
        """Return the fleet in a text. Raises: ValueError when it is not one, saying why."""
        try:
            plain = json.loads(text)
            return cls(
                seed=plain["seed"],
                origin=datetime.fromisoformat(plain["origin"]),
                history_from=datetime.fromisoformat(plain["history_from"]),
                meters=tuple(_from_plain(item) for item in plain["meters"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a fleet: {type(error).__name__}: {error}"[:300]) from error


def make_fleet(
    *,
    seed: int,
    customers: int = 200,
    origin: datetime,
    dlt645: int = 0,
    close_allowed_seconds: int = CLOSE_ALLOWED_SECONDS,
    hdlc: int = 0,
) -> Fleet:
    """
    Return the fleet of a seed; `origin` is the business instant at which simulation begins.

    The first `dlt645` customers with a Modbus meter get a DL/T 645 meter instead, by turns with a
    relay inside and with the external breaker of Chongqing's pilot. The first `hdlc` customers
    with a DLMS meter are reached by HDLC over TCP.

    Raises: ValueError when `customers` is not positive.
    """
    if customers < 1:
        raise ValueError(f"a fleet needs at least one customer, not {customers}")
    transformers = -(-customers // CUSTOMERS_PER_TRANSFORMER)
    meters = [_customer(seed, number) for number in range(1, customers + 1)]
    chosen = [index for index, meter in enumerate(meters) if meter.protocol == "modbus"][:dlt645]
    for turn, index in enumerate(chosen):
        meters[index] = _dlt645(seed, meters[index], turn, close_allowed_seconds)
    spoken = [index for index, meter in enumerate(meters) if meter.protocol == "dlms"][:hdlc]
    for index in spoken:
        meters[index] = replace(meters[index], link="hdlc-tcp")
    meters += [_head(seed, number, meters) for number in range(1, transformers + 1)]
    return Fleet(
        seed=seed,
        origin=origin,
        history_from=floor_to_grid(origin - HISTORY, 3600),
        meters=tuple(meters),
    )


def keys_of(seed: int, meter: str) -> dict[str, Any]:
    """Return the simulated secrets of a meter: LLS password, GMAC keys, system title."""

    def octets(label: str, size: int) -> bytes:
        return hashlib.blake2b(f"{seed}:{meter}:{label}".encode(), digest_size=size).digest()

    return {
        "password": octets("password", 8).hex()[:8].encode(),
        "authentication_key": octets("authentication", 16),
        "encryption_key": octets("encryption", 16),
        "system_title": b"MLP" + octets("title", 5),
    }


def _customer(seed: int, number: int) -> SimMeter:
    plant = PLANTED.get(number)
    name = f"M-{number:06d}"
    draws = _Draws(seed, name)
    turn = number % 20
    if plant is not None:
        authentication = plant.authentication
    else:
        authentication = "hls5" if turn < 9 else "lls" if turn < 15 else "none"
    transformer = (number - 1) // CUSTOMERS_PER_TRANSFORMER + 1
    place: dict[str, Any] = {
        "number": number,
        "meter": name,
        "usage_point": f"UP-{number:06d}",
        "transformer": f"T-{transformer:02d}",
        "concentrator": _concentrator(transformer),
        "kind": "customer",
        "serial": str(21_000_000 + number),
        "opening_register_wh": draws.between("opening", 800_000, 9_500_000),
        "daily_wh": plant.daily_wh if plant else draws.between("size", 3_000, 13_000),
        "shape": draws.between("shape", 0, len(SHAPES) - 2),
        "planted": plant.name if plant else "",
    }
    if authentication == "none":
        model = "sdm630" if turn % 2 else "abb_b23"
        return SimMeter(**place, protocol="modbus", model=model)
    control_mode = plant.control_mode if plant else 3 if number % 5 == 0 else 4
    offset = plant.clock_offset_ms if plant else 10 * draws.between("offset", -300, 300)
    return SimMeter(
        **place,
        **keys_of(seed, name),
        protocol="dlms",
        model="dlms_gmac" if authentication == "hls5" else "dlms_lls",
        authentication=authentication,
        interval_seconds=900 if number % 3 == 0 else 1800,
        control_mode=control_mode,
        clock_offset_ms=offset,
        clock_drift_ppm=draws.between("drift", -20, 20),
    )


def _dlt645(seed: int, place: SimMeter, turn: int, close_allowed_seconds: int) -> SimMeter:
    pilot = turn % 2 == 1
    return replace(
        place,
        protocol="dlt645",
        model="dlt645_pilot" if pilot else "dlt645_relay",
        # PA P0 P1 P2: level 02 and six digits
        password=bytes.fromhex(f"02{_Draws(seed, place.meter).between('password', 0, 999_999):06}"),
        serial=place.serial.rjust(12, "0"),
        interval_seconds=900 if place.number % 3 == 0 else 1800,
        control_mode=ARMS if pilot else CLOSES,
        close_allowed_seconds=close_allowed_seconds if pilot else None,
        clock_offset_ms=10 * _Draws(seed, place.meter).between("offset", -300, 300),
    )


def _head(seed: int, transformer: int, customers: list[SimMeter]) -> SimMeter:
    name = f"M-H{transformer:02d}"
    below = [meter for meter in customers if meter.transformer == f"T-{transformer:02d}"]
    return SimMeter(
        number=100_000 + transformer,
        meter=MeterId(name),
        usage_point=UsagePointId(f"UP-H{transformer:02d}"),
        transformer=TransformerId(f"T-{transformer:02d}"),
        concentrator=ConcentratorId(_concentrator(transformer)),
        kind="head",
        protocol="modbus",
        # integer registers: f32 kWh would lose watt-hours above 16384 kWh
        model="abb_b23",
        serial=str(31_000_000 + transformer),
        opening_register_wh=_Draws(seed, name).between("opening", 20_000_000, 90_000_000),
        daily_wh=sum(meter.daily_wh for meter in below) * (1000 + HEAD_LOSS_PERMILLE) // 1000,
    )


def _concentrator(transformer: int) -> str:
    return f"C-{(transformer - 1) // TRANSFORMERS_PER_CONCENTRATOR + 1:02d}"


@dataclass(frozen=True, slots=True)
class _Draws:
    seed: int
    meter: str

    def between(self, label: str, low: int, high: int) -> int:
        return low + key_of(self.seed, self.meter, label) % (high - low + 1)


def _to_plain(meter: SimMeter) -> dict[str, Any]:
    plain = asdict(meter)
    return plain | {name: plain[name].hex() for name in _BYTES}


def _from_plain(plain: dict[str, Any]) -> SimMeter:
    known = {item.name for item in fields(SimMeter)}
    if stranger := set(plain) - known:
        raise ValueError(f"unknown fields of a meter: {sorted(stranger)}")
    return SimMeter(**(plain | {name: bytes.fromhex(plain[name]) for name in _BYTES}))
