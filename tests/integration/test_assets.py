"""Assets on a real database: registration is repeatable, places are never shared."""

from datetime import UTC, datetime, timedelta

import pytest

from cloud.assets import service as assets
from cloud.assets.model import (
    Concentrator,
    Installation,
    Meter,
    PointKind,
    Refusal,
    Registration,
    Transformer,
    UsagePoint,
)
from cloud.org import service as org
from cloud.org.model import Company, Unit, UnitKind
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.identity import ConcentratorId, MeterId, TransformerId, UsagePointId

T0 = datetime(2026, 1, 1, tzinfo=UTC)
UP = UsagePointId("UP-000001")
OLD, NEW = MeterId("M-000001"), MeterId("M-000002")


def a_registration(*, capacity_w: int = 8000) -> Registration:
    return Registration(
        transformers=(Transformer(id=TransformerId("T-01")),),
        usage_points=(
            UsagePoint(
                id=UP,
                kind=PointKind.CUSTOMER,
                transformer=TransformerId("T-01"),
                zone="Asia/Shanghai",
                capacity_w=capacity_w,
            ),
        ),
        concentrators=(Concentrator(id=ConcentratorId("C-01")),),
        meters=tuple(
            Meter(id=id_, model="x", protocol="dlms", has_relay=True, can_close_remotely=True,
                  interval_seconds=1800, control_mode=4)
            for id_ in (OLD, NEW)
        ),
        installations=(
            Installation(
                meter=OLD, usage_point=UP, concentrator=ConcentratorId("C-01"), installed_at=T0
            ),
        ),
    )  # fmt: skip


@pytest.mark.req("N2")
def test_registering_twice_changes_nothing(db: Database) -> None:
    for _ in range(2):
        assets.register(db, a_registration(), now=T0)
    with db.transaction() as conn:
        found = assets.installation_of(conn, UP)
        assert found is not None
        assert found.meter.id == OLD
        assert found.meter.control_mode == 4
        assert found.usage_point.zone == "Asia/Shanghai"
        assert assets.installed_at_concentrator(conn, ConcentratorId("C-01")) == [found]
        assert [p.id for p in assets.usage_points_of_transformer(conn, TransformerId("T-01"))] == [
            UP
        ]
        assert assets.usage_point_ids(conn) == [UP]
        assert assets.usage_point_ids(conn, PointKind.HEAD) == []


def test_a_known_id_with_other_attributes_is_refused_whole(db: Database) -> None:
    assets.register(db, a_registration(), now=T0)
    with pytest.raises(RefusedError) as refused:
        assets.register(db, a_registration(capacity_w=9000), now=T0)
    assert refused.value.refusal is Refusal.DIFFERS


def test_two_meters_never_share_a_usage_point(db: Database) -> None:
    assets.register(db, a_registration(), now=T0)
    second = Registration(
        installations=(
            Installation(
                meter=NEW,
                usage_point=UP,
                concentrator=ConcentratorId("C-01"),
                installed_at=T0 + timedelta(days=1),
            ),
        )
    )
    with pytest.raises(RefusedError) as refused:
        assets.register(db, second, now=T0)
    assert refused.value.refusal is Refusal.OVERLAP


@pytest.mark.req("N2")
def test_exchange_ends_the_old_and_starts_the_new_meter(db: Database) -> None:
    assets.register(db, a_registration(), now=T0)
    at = T0 + timedelta(days=30)
    assets.exchange(
        db, usage_point=UP, new_meter=NEW, at=at, final_wh=5000, initial_wh=7,
        actor="user:lin", now=at,
    )  # fmt: skip
    with db.transaction() as conn:
        past, present = assets.installations_at(conn, [UP])
        assert (past.meter.id, past.installation.removed_at) == (OLD, at)
        assert past.installation.final_wh == 5000
        assert (present.meter.id, present.installation.installed_at) == (NEW, at)
        assert assets.installations_of_meters(conn, [OLD]) == [past]
    # the first registration may come again after the exchange
    assets.register(db, a_registration(), now=at)


@pytest.mark.parametrize(
    ("usage_point", "meter", "refusal"),
    [
        (UsagePointId("UP-9"), NEW, Refusal.NOT_INSTALLED),
        (UP, MeterId("M-9"), Refusal.UNKNOWN),
        (UP, OLD, None),
    ],
)
def test_an_exchange_of_unknown_things_is_refused(
    db: Database, usage_point: UsagePointId, meter: MeterId, refusal: Refusal | None
) -> None:
    assets.register(db, a_registration(), now=T0)
    at = T0 + timedelta(days=1)

    def change() -> None:
        assets.exchange(
            db, usage_point=usage_point, new_meter=meter, at=at, final_wh=None, initial_wh=None,
            actor="user:lin", now=at,
        )  # fmt: skip

    if refusal is None:
        change()
        return
    with pytest.raises(RefusedError) as refused:
        change()
    assert refused.value.refusal is refusal
    with db.transaction() as conn:
        still = assets.installation_of(conn, UP)
        assert still is not None
        assert still.meter.id == OLD


def test_units_stand_below_their_company(db: Database) -> None:
    company = Company(id="CQ", name="Chongqing Power")
    branch = Unit(
        id="CQ-1", company="CQ", parent=None, kind=UnitKind.BRANCH, name="Yubei",
        zone="Asia/Shanghai",
    )  # fmt: skip
    for _ in range(2):
        org.register(db, companies=[company], units=[branch])
    with db.transaction() as conn:
        assert org.units(conn) == [branch]
