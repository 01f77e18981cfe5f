"""
Everything the demo town is made of, derived from the simulated fleet; pure.

The same fleet gives the same records at every start, so seeding twice changes nothing.
"""

from collections.abc import Mapping
from typing import Any

from billing.customers.model import (
    AccountId,
    AgreementId,
    CustomerId,
    CustomerKind,
    NewCustomer,
)
from billing.customers.model import Registration as CustomerRegistration
from cloud.assets.model import (
    Concentrator,
    Installation,
    Meter,
    PointKind,
    Registration,
    Transformer,
    UsagePoint,
)
from meterloop.demo.people import person
from protocols.identity import ConcentratorId, MeterId
from simulators.fleet import Fleet, SimMeter

ZONE = "Asia/Shanghai"
CURRENCY = "CNY"
TARIFF = "cq-household-lv"
MICROS = 1_000_000
REMINDER_MICROS = {42: 5 * MICROS}
"""
Reminder lines that differ from the usual ten.

Most of a day's use above zero: a day is 20 seconds, and a busy machine that lost a process for nine
of them saw the balance below both lines at once, where only the graver message is sent.
"""
CUT_MODES_THAT_CLOSE = (2, 4)
"""Control modes in which a remote reconnect closes; in the others it arms (class 70)."""


def assets_of(fleet: Fleet) -> Registration:
    """Return transformers, usage points, meters and installations of the fleet."""
    return Registration(
        transformers=tuple(
            Transformer(id=name, name=f"Transformer {name}")
            for name in sorted({meter.transformer for meter in fleet.meters})
        ),
        usage_points=tuple(
            UsagePoint(
                id=meter.usage_point,
                kind=PointKind(meter.kind),
                transformer=meter.transformer,
                zone=ZONE,
                capacity_w=None if meter.kind == "head" else 40_000,
            )
            for meter in fleet.meters
        ),
        concentrators=tuple(
            Concentrator(id=name, name=f"Concentrator {name}") for name in concentrators(fleet)
        ),
        meters=tuple(
            Meter(
                id=meter.meter,
                model=meter.model,
                protocol=meter.protocol,
                has_relay=meter.has_relay,
                can_close_remotely=meter.control_mode in CUT_MODES_THAT_CLOSE,
                interval_seconds=meter.interval_seconds,
                control_mode=meter.control_mode,
                max_w=1_000_000 if meter.kind == "head" else 100_000,
                keeps_power=meter.protocol == "dlt645",
                token_kind="dlt645" if meter.protocol == "dlt645" else "",
            )
            for meter in fleet.meters
        ),
        installations=tuple(
            Installation(
                meter=meter.meter,
                usage_point=meter.usage_point,
                concentrator=meter.concentrator,
                installed_at=fleet.history_from,
                initial_wh=meter.opening_register_wh,
            )
            for meter in fleet.meters
        ),
    )


def customers_of(fleet: Fleet) -> CustomerRegistration:
    """Return who lives behind each customer meter, with the balance they start with."""
    return CustomerRegistration(
        customers=tuple(_customer(fleet, meter) for meter in fleet.customers),
        actor="user:reza",
    )


def concentrators(fleet: Fleet) -> list[ConcentratorId]:
    """Return the concentrators of the fleet, sorted."""
    return sorted({meter.concentrator for meter in fleet.meters})


def edge_meters(
    fleet: Fleet, concentrator: ConcentratorId, addresses: Mapping[str, tuple[str, int]]
) -> list[dict[str, Any]]:
    """Return the `meters` of one agent's configuration; `addresses` gives host and port."""
    meters = []
    for meter in fleet.meters:
        if meter.concentrator != concentrator:
            continue
        host, port = addresses[meter.meter]
        meters.append(
            {
                "meter": meter.meter,
                "usage_point": meter.usage_point,
                "protocol": meter.protocol,
                "host": host,
                "port": port,
                "history_from": fleet.history_from.isoformat(),
                "client_sap": 1,
                "server_sap": 1,
                "authentication": meter.authentication,
                "interval_seconds": meter.interval_seconds or 0,
                "has_relay": meter.has_relay,
                "unit": meter.modbus_unit,
                "model": meter.model if meter.protocol == "modbus" else "",
                "serial": meter.serial if meter.protocol != "dlms" else "",
                "timeout_seconds": 3.0,
                "closes_remotely": not meter.has_external_breaker,
                "arms_itself": meter.has_external_breaker,
                **_line_of(meter),
            }
        )
    return meters


def _line_of(meter: SimMeter) -> dict[str, str]:
    """Return the keys of a meter that is not reached in its protocol's usual way."""
    if meter.serial_line:
        return {"link": "hdlc-serial", "serial_port": meter.serial_line}
    return {"link": meter.link} if meter.link != "wrapper" else {}


def edge_keys(fleet: Fleet, concentrator: ConcentratorId) -> dict[str, Any]:
    """Return the key file of one agent: its own system title and its meters' secrets, no others."""
    number = concentrators(fleet).index(concentrator) + 1
    keys: dict[str, Any] = {"system_title": (b"MLC" + number.to_bytes(5, "big")).hex()}
    for meter in fleet.meters:
        if meter.concentrator == concentrator and meter.password:
            keys[meter.meter] = {
                "password": meter.password.hex(),
                "authentication_key": meter.authentication_key.hex(),
                "encryption_key": meter.encryption_key.hex(),
            }
    return keys


def meter_number(meter: MeterId) -> int:
    """Return the number in `M-000042`."""
    return int(meter.removeprefix("M-"))


def _customer(fleet: Fleet, meter: SimMeter) -> NewCustomer:
    who = person(meter.number)
    return NewCustomer(
        customer=CustomerId(f"CU-{meter.number:06d}"),
        name=who.name,
        language=who.language,
        account=AccountId(f"AC-{meter.number:06d}"),
        agreement=AgreementId(f"SA-{meter.number:06d}"),
        usage_point=meter.usage_point,
        tariff_code=TARIFF,
        currency=CURRENCY,
        started_at=fleet.history_from,
        phone=who.phone,
        kind=CustomerKind.LEGAL if meter.planted == "protected" else CustomerKind.HOUSEHOLD,
        opening_register_wh=meter.opening_register_wh,
        opening_year_wh=_opening_year_wh(meter),
        opening_balance_micros=(400 + meter.number) * MICROS,
        reminder_micros=REMINDER_MICROS.get(meter.number, 10 * MICROS),
        cut_micros=0,
        protection="hospital: life support" if meter.planted == "protected" else "",
    )


def _opening_year_wh(meter: SimMeter) -> int:
    """Return what was used this year before take-over; two households stand close to a tier."""
    match meter.planted:
        case "story":
            return 2_400_000 - 35_000
        case "tier":
            return 4_800_000 - 45_000
        case _:
            return meter.daily_wh * 200
