"""Rollouts in a test's hands: images, wishes, people, and what the edge answers."""

from datetime import timedelta

from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.upkeep import service as upkeep
from cloud.upkeep.model import Errand, Image, Kind, RolloutId, RolloutState, Stages, Wish
from protocols.identity import CommandId, ConcentratorId
from protocols.mqtt.uplink import Ack, Stage
from tests.integration.control_kit import CONCENTRATOR, NOW, meter

ASKER, OTHER = "user:reza", "user:lin"
OCTETS = bytes(range(256)) * 80


def stored_image(db: Database, *, model: str = "toy", version: str = "2.1") -> Image:
    return upkeep.upload_image(
        db, OCTETS + version.encode(), model=model, version=version,
        identifier=version.encode(), actor=ASKER, now=NOW,
    )  # fmt: skip


def firmware(
    db: Database, *numbers: int, stages: Stages | None = None, activate: bool = True
) -> RolloutId:
    image = stored_image(db)
    with db.transaction() as conn:
        targets = upkeep.targets_of(conn, [meter(n) for n in numbers])
    return upkeep.ask(
        db,
        Wish(
            kind=Kind.FIRMWARE, requested_by=ASKER, reason="a fault in the clock",
            until=NOW + timedelta(hours=24), stages=stages or Stages(first=1, most_open=10),
            targets=targets, image=image.sha256, activate=activate,
        ),
        now=NOW,
    )  # fmt: skip


def rekey(db: Database, *numbers: int, sealed: bytes = b"s" * 60) -> RolloutId:
    with db.transaction() as conn:
        names = [meter(n) for n in numbers]
        targets = upkeep.targets_of(conn, names, sealed=dict.fromkeys(names, sealed))
    return upkeep.ask(
        db,
        Wish(
            kind=Kind.REKEY, requested_by=ASKER, reason="yearly", stages=Stages(),
            until=NOW + timedelta(hours=24), targets=targets,
        ),
        now=NOW,
    )  # fmt: skip


def configuration(db: Database, **settings: float) -> RolloutId:
    return upkeep.ask(
        db,
        Wish(
            kind=Kind.CONFIGURATION, requested_by=ASKER, reason="less traffic", stages=Stages(),
            until=NOW + timedelta(hours=1), settings=settings,
            targets=upkeep.concentrators_as_targets([CONCENTRATOR]),
        ),
        now=NOW,
    )  # fmt: skip


def errands(db: Database, rollout: RolloutId) -> list[Errand]:
    with db.transaction() as conn:
        return upkeep.errands_of(conn, rollout)


def state(db: Database, rollout: RolloutId) -> tuple[RolloutState, str]:
    with db.transaction() as conn:
        found = upkeep.rollout_of(conn, rollout)
    return found.state, found.cause


def answer(
    db: Database, errand: Errand, stage: Stage, clock: Clock, *, reason: str = "",
    evidence: dict[str, object] | None = None, concentrator: ConcentratorId = CONCENTRATOR,
    id_: CommandId | None = None,
) -> bool:  # fmt: skip
    ack = Ack(
        id=id_ or errand.id, meter=errand.meter, stage=stage, at=clock.now(), reason=reason,
        evidence=evidence or {},
    )  # fmt: skip
    return upkeep.record_ack(db, ack, concentrator=concentrator, now=clock.now())
