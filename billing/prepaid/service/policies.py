"""Policies of fee control: what holds for an account, and the groups, lines and days they name."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing.customers.model import CustomerCard
from billing.prepaid.rules import credit as rules
from billing.prepaid.rules.credit import Level, Policy, PolicyPart, Window
from billing.prepaid.store import credit as store
from cloud.assets import service as assets
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import TransformerId, UsagePointId

_FEW = 20
"""Usage points up to which each is asked for its area, instead of each area for its points."""


def set_policy(db: Database, part: PolicyPart, *, actor: str, now: datetime) -> None:
    """
    Say how a currency, a group, a line, an area or one agreement is treated, whole (C10).

    Raises: RefusedError `credit.policy_bad`.
    """
    rules.check_part(part)
    with db.transaction() as conn:
        before = store.all_policies(conn).get((part.level, part.target))
        store.upsert_policy(conn, part, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="prepaid.set_policy", entity="policy",
            entity_id=f"{part.level.value}:{part.target}",
            before=dict(before.says) if before else None, after=dict(part.says),
        )  # fmt: skip


def policies(conn: Connection) -> list[PolicyPart]:
    """Return every part that is set, from the widest level to the nearest."""
    order = list(Level)
    parts = store.all_policies(conn).values()
    return sorted(parts, key=lambda part: (order.index(part.level), part.target))


def set_group(db: Database, agreement: str, name: str, *, actor: str, now: datetime) -> None:
    """Put an agreement into a group of customers whose policy it then follows (C10)."""
    with db.transaction() as conn:
        before = store.groups_of(conn, [agreement]).get(agreement)
        store.set_group(conn, agreement, name, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="prepaid.set_group", entity="agreement",
            entity_id=agreement, before={"group": before}, after={"group": name},
        )  # fmt: skip


def set_line(db: Database, transformer: str, line: str, *, actor: str, now: datetime) -> None:
    """Say which line feeds a transformer area."""
    with db.transaction() as conn:
        before = store.line_areas(conn).get(transformer)
        store.set_line(conn, transformer, line, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="prepaid.set_line", entity="transformer",
            entity_id=transformer, before={"line": before}, after={"line": line},
        )  # fmt: skip


def set_rest_day(db: Database, day: date, name: str, *, actor: str, now: datetime) -> None:
    """Let no cut begin on a day."""
    with db.transaction() as conn:
        store.set_rest_day(conn, day, name, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="prepaid.set_rest_day", entity="rest_day",
            entity_id=day.isoformat(), after={"name": name},
        )  # fmt: skip


def policy_of(conn: Connection, card: CustomerCard) -> Policy:
    """Return the policy that holds for one agreement, every level applied."""
    return policies_of(conn, [(card.agreement, card.usage_point, card.currency)])[0]


def policies_of(conn: Connection, points: Sequence[tuple[str, str, str]]) -> list[Policy]:
    """
    Return the policies of many agreements, given as (agreement, usage point, currency).

    Agreements that share every level share one object.
    """
    parts = store.all_policies(conn)
    groups = store.groups_of(conn, [agreement for agreement, _, _ in points])
    few = len(points) <= _FEW
    areas = _areas_at(conn, points) if few else _areas(conn, parts)
    lines = store.line_areas(conn)
    shared: dict[tuple[str, str, str, str], Policy] = {}
    found = []
    for agreement, usage_point, currency in points:
        area = areas.get(usage_point, "")
        own = agreement if (Level.AGREEMENT, agreement) in parts else ""
        key = (currency, groups.get(agreement, ""), area, own)
        if key not in shared:
            levels = (
                (Level.DEFAULT, currency), (Level.GROUP, key[1]), (Level.LINE, lines.get(area, "")),
                (Level.TRANSFORMER, area), (Level.AGREEMENT, own),
            )  # fmt: skip
            shared[key] = rules.effective(parts.get(level) for level in levels)
        found.append(shared[key])
    return found


def named(conn: Connection) -> tuple[list[str], list[str]]:
    """Return agreements, and usage points of areas, whose policy is not their currency's alone."""
    parts = store.all_policies(conn)
    agreements = {target for level, target in parts if level is Level.AGREEMENT}
    groups = {target for level, target in parts if level is Level.GROUP}
    agreements |= set(store.members_of(conn, sorted(groups)))
    return sorted(agreements), sorted(_areas(conn, parts))


def cut_window(conn: Connection, card: CustomerCard, now: datetime) -> Window:
    """Return whether a cut of this supply may begin now, and when the next window opens."""
    point = assets.usage_point(conn, UsagePointId(card.usage_point))
    policy = policy_of(conn, card)
    rest = store.rest_days(conn, (now - timedelta(days=1)).date())
    try:
        return rules.window_at(
            policy, zone=ZoneInfo(point.zone if point else "UTC"), rest_days=rest, now=now
        )
    except RefusedError:
        # rest days close every window in sight: nobody is cut by a calendar that says so
        return Window(open=False, opens_at=now + timedelta(days=1), closes_at=None)


def _areas_at(conn: Connection, points: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """Return the area of each usage point named, policies or not."""
    found = {point: assets.usage_point(conn, UsagePointId(point)) for _, point, _ in points}
    return {point: str(known.transformer) for point, known in found.items() if known}


def _areas(conn: Connection, parts: dict[tuple[Level, str], PolicyPart]) -> dict[str, str]:
    """Return the area of usage points whose area, or its line, has a policy of its own."""
    named = {target for level, target in parts if level is Level.TRANSFORMER}
    by_line = {target for level, target in parts if level is Level.LINE}
    named |= {area for area, line in store.line_areas(conn).items() if line in by_line}
    return {
        str(point.id): area
        for area in sorted(named)
        for point in assets.usage_points_of_transformer(conn, TransformerId(area))
    }
