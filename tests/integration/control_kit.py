"""A street of supplies with meters, people to approve, and clocks that stand still until moved."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.assets import service as assets
from cloud.assets.model import (
    Concentrator,
    Installation,
    Meter,
    PointKind,
    Registration,
    Transformer,
    UsagePoint,
)
from cloud.control import service as control
from cloud.control.model import Refusal, RelayPosition, RequestId
from cloud.messages import service as messages
from cloud.signer import service as signer
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.work import service as work
from protocols.errors import RefusedError
from protocols.identity import CommandId, ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.mqtt.uplink import Ack, Stage

NOW = datetime(2026, 6, 2, 10, 0, tzinfo=UTC)
"""A Tuesday."""
CONCENTRATOR = ConcentratorId("C-01")
ASKER = "system:billing"


@dataclass(frozen=True, slots=True, kw_only=True)
class StillClock(Clock):
    """A clock that shows what it was set to; wall and business time run alike."""

    hands: list[datetime] = field(default_factory=lambda: [NOW])

    def now(self) -> datetime:
        return self.hands[-1]

    def wall_now(self) -> datetime:
        return self.hands[-1]

    def after_wall(self, seconds: float) -> datetime:
        return self.hands[-1] + timedelta(seconds=seconds)

    def move(self, **delta: float) -> datetime:
        """Move on and return the new instant."""
        self.hands.append(self.hands[-1] + timedelta(**delta))
        return self.hands[-1]


def point(number: int) -> UsagePointId:
    return UsagePointId(f"UP-{number:06d}")


def meter(number: int) -> MeterId:
    return MeterId(f"M-{number:06d}")


def build(
    db: Database, *numbers: int, transformer: str = "T-01", closes: bool = True,
    keeps_power: bool = False, token_kind: str = "",
) -> None:  # fmt: skip
    """Register supplies with DLMS meters; numbers from 900 on have meters without a switch."""
    registration = Registration(
        transformers=(Transformer(id=TransformerId(transformer)),),
        usage_points=tuple(
            UsagePoint(
                id=point(n), kind=PointKind.CUSTOMER, transformer=TransformerId(transformer),
                zone="Asia/Shanghai",
            )
            for n in numbers
        ),
        concentrators=(Concentrator(id=CONCENTRATOR),),
        meters=tuple(
            Meter(
                id=meter(n), model="toy", protocol="dlms", has_relay=n < 900,
                can_close_remotely=closes and n < 900, control_mode=4 if n < 900 else None,
                keeps_power=keeps_power, token_kind=token_kind,
            )
            for n in numbers
        ),
        installations=tuple(
            Installation(
                meter=meter(n), usage_point=point(n), concentrator=CONCENTRATOR,
                installed_at=NOW - timedelta(days=100),
            )
            for n in numbers
        ),
    )  # fmt: skip
    assets.register(db, registration, now=NOW)
    with db.transaction() as conn:
        for n in numbers:
            control.open_supply(conn, point(n), NOW)
            messages.set_contact(
                conn, subject=point(n), phone=f"+861380000{n:04d}", language="en", now=NOW
            )
    control.set_policy(
        db, actor="user:lin", now=NOW, zone="UTC", window_start_hour=0, window_end_hour=24,
        weekdays=(1, 2, 3, 4, 5, 6, 7), max_cuts_per_transformer_day=10_000,
        max_cuts_per_day=10_000, max_cuts_per_hour=10_000,
    )  # fmt: skip


def ask(db: Database, number: int, *, by: str = ASKER, now: datetime = NOW) -> RequestId:
    return control.request_disconnect(
        db, usage_point=point(number), requested_by=by, reason="arrears",
        figures={"available_micros": -1}, now=now,
    )  # fmt: skip


def approve_twice(db: Database, request: RequestId, *, now: datetime = NOW) -> None:
    control.approve(db, request, actor="user:reza", now=now)
    control.approve(db, request, actor="user:lin", now=now)


def confirm(db: Database, request: RequestId, *, now: datetime = NOW) -> bool:
    with db.transaction() as conn:
        found = control.request_of(conn, request)
        assert found is not None
        epoch = control.supply_of(conn, found.usage_point).epoch
    return control.confirm_recheck(
        db, request, epoch=epoch, still_due=True, figures={"available_micros": -2}, now=now
    )


def rechecked(db: Database, number: int, *, now: datetime = NOW) -> RequestId:
    request = ask(db, number, now=now)
    approve_twice(db, request, now=now)
    assert confirm(db, request, now=now)
    return request


def ordered(db: Database, number: int, clock: Clock) -> CommandId:
    rechecked(db, number, now=clock.now())
    [command] = control.issue_due(db, clock)
    control.prepare(db, clock)
    return command


def ack(
    db: Database, command: CommandId, number: int, stage: Stage, *, at: datetime,
    nonce: bytes = b"", reason: str = "", evidence: dict[str, object] | None = None,
    concentrator: ConcentratorId = CONCENTRATOR,
) -> bool:  # fmt: skip
    return control.record_ack(
        db,
        Ack(
            id=command, meter=meter(number), stage=stage, at=at, nonce=nonce, reason=reason,
            evidence=evidence or {},
        ),
        concentrator=concentrator, now=at,
    )  # fmt: skip


def challenged(db: Database, number: int, clock: Clock, key: Ed25519PrivateKey) -> CommandId:
    """Bring a cut as far as the edge's challenge, answered and signed."""
    command = ordered(db, number, clock)
    signer.sign_waiting(db, key, clock)
    assert command in [item.key for item in control.outgoing(db, clock)]
    ack(db, command, number, Stage.ACCEPTED, at=clock.now())
    ack(db, command, number, Stage.CHALLENGE, at=clock.now(), nonce=command.encode()[-16:])
    signer.sign_waiting(db, key, clock)
    return command


def cut(db: Database, number: int, clock: StillClock, key: Ed25519PrivateKey) -> CommandId:
    """Bring a cut to its done."""
    command = challenged(db, number, clock, key)
    assert f"{command}/go" in [item.key for item in control.outgoing(db, clock)]
    ack(db, command, number, Stage.STARTED, at=clock.now())
    ack(db, command, number, Stage.DONE, at=clock.move(seconds=2))
    return command


def pay(db: Database, number: int, *, restores: bool = True, now: datetime = NOW) -> None:
    with db.transaction() as conn:
        control.payment_registered(conn, point(number), ref="P-1", restores=restores, now=now)


def state_of(db: Database, request: RequestId) -> str:
    with db.transaction() as conn:
        found = control.request_of(conn, request)
    assert found is not None
    return found.state.value


def command_state(db: Database, command: CommandId) -> str:
    with db.transaction() as conn:
        found = control.command_of(conn, command)
    assert found is not None
    return found.state.value


def texts(db: Database, subject: str) -> list[str]:
    with db.transaction() as conn:
        return [item.kind.value for item in messages.messages_of(conn, subject)]


def jobs(db: Database, *, now: datetime = NOW) -> list[str]:
    """Follow outcomes and return the kinds of all orders."""
    work.follow_outcomes(db, now=now)
    with db.transaction() as conn:
        return sorted(order.kind.value for order in work.orders(conn))


def audited(db: Database, now: datetime) -> dict[str, int]:
    with db.transaction() as conn:
        found = control.audit_violations(conn, now=now)
    return {name: count for name, count in found.items() if count}


def refusal_of(call: Callable[[], object]) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        call()
    return Refusal(caught.value.refusal)


def relay_of(db: Database, number: int) -> RelayPosition:
    with db.transaction() as conn:
        return control.supply_of(conn, point(number)).relay_state


def verbs(db: Database, number: int) -> list[tuple[str, str]]:
    with db.transaction() as conn:
        return [(c.verb, c.state.value) for c in control.commands_of(conn, point(number))]


def newest_request(db: Database) -> str:
    with db.transaction() as conn:
        return control.requests_of(conn, point(1))[0].id
