"""SQL of the assets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloud.assets.model import (
    Concentrator,
    Fleet,
    FleetChange,
    Installation,
    Installed,
    Meter,
    PastChange,
    PointKind,
    Ratio,
    RatioProposal,
    Stays,
    Transformer,
    UsagePoint,
)
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parent / "sql")

_TRANSFORMER = ("id", "name", "unit")
_USAGE_POINT = ("id", "kind", "transformer", "zone", "capacity_w")
_CONCENTRATOR = ("id", "name")
_METER = ("id", "model", "protocol", "has_relay", "can_close_remotely", "interval_seconds",
          "control_mode", "rollover_wh", "max_w", "keeps_power", "token_kind")  # fmt: skip
_INSTALLATION = ("meter", "usage_point", "concentrator", "installed_at", "removed_at",
                 "initial_wh", "final_wh")  # fmt: skip


def _columns(things: Sequence[object], names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [getattr(thing, name) for thing in things] for name in names}


def insert_transformers(conn: Connection, things: Sequence[Transformer]) -> list[Transformer]:
    """Add the unknown ones; return all of them as the database has them."""
    conn.execute(_SQL["insert_transformers"], _columns(things, _TRANSFORMER))
    rows = conn.execute(_SQL["transformers_by_id"], {"id": [thing.id for thing in things]})
    return [Transformer(**dict(zip(_TRANSFORMER, row, strict=True))) for row in rows]


def insert_usage_points(conn: Connection, things: Sequence[UsagePoint]) -> list[UsagePoint]:
    """Add the unknown ones; return all of them as the database has them."""
    conn.execute(_SQL["insert_usage_points"], _columns(things, _USAGE_POINT))
    return usage_points(conn, [thing.id for thing in things])


def usage_points(conn: Connection, ids: Sequence[UsagePointId]) -> list[UsagePoint]:
    """Return the usage points named."""
    return [_point(row) for row in conn.execute(_SQL["usage_points_by_id"], {"id": list(ids)})]


def usage_points_of_transformer(conn: Connection, transformer: TransformerId) -> list[UsagePoint]:
    """Return the usage points below a transformer."""
    rows = conn.execute(_SQL["usage_points_of_transformer"], {"transformer": transformer})
    return [_point(row) for row in rows]


def usage_point_ids(conn: Connection, kind: PointKind) -> list[UsagePointId]:
    """Return the ids of every usage point of a kind."""
    return [UsagePointId(id_) for (id_,) in conn.execute(_SQL["usage_point_ids"], {"kind": kind})]


def units_of(conn: Connection, usage_points: Sequence[UsagePointId]) -> dict[UsagePointId, str]:
    """Return the unit (else the transformer) of each usage point named."""
    rows = conn.execute(_SQL["units_of_usage_points"], {"usage_points": list(usage_points)})
    return {UsagePointId(id_): unit for id_, unit in rows}


def zones(conn: Connection) -> dict[str, datetime]:
    """Return each zone that has meters, and when the first of them was installed."""
    return dict(conn.execute(_SQL["zones"]).fetchall())


def points_of_zone(
    conn: Connection, zone: str, span: Interval, *, after: str, limit: int
) -> list[UsagePointId]:
    """Return the next usage points of a zone by id that had a meter at some time of `span`."""
    rows = conn.execute(
        _SQL["points_of_zone"],
        {"zone": zone, "since": span.start, "until": span.end, "after": after, "limit": limit},
    )
    return [UsagePointId(row[0]) for row in rows]


def insert_concentrators(conn: Connection, things: Sequence[Concentrator]) -> list[Concentrator]:
    """Add the unknown ones; return all of them as the database has them."""
    conn.execute(_SQL["insert_concentrators"], _columns(things, _CONCENTRATOR))
    rows = conn.execute(_SQL["concentrators_by_id"], {"id": [thing.id for thing in things]})
    return [Concentrator(**dict(zip(_CONCENTRATOR, row, strict=True))) for row in rows]


def insert_meters(conn: Connection, things: Sequence[Meter]) -> list[Meter]:
    """Add the unknown ones; return all of them as the database has them."""
    conn.execute(_SQL["insert_meters"], _columns(things, _METER))
    return meters(conn, [thing.id for thing in things])


def meters(conn: Connection, ids: Sequence[MeterId]) -> list[Meter]:
    """Return the meters named."""
    rows = conn.execute(_SQL["meters_by_id"], {"id": list(ids)})
    return [Meter(**dict(zip(_METER, row, strict=True))) for row in rows]


def insert_installations(conn: Connection, things: Sequence[Installation]) -> None:
    """Add the installations that no known one overlaps."""
    conn.execute(_SQL["insert_installations"], _columns(things, _INSTALLATION))


def end_installation(
    conn: Connection, usage_point: UsagePointId, *, removed_at: datetime, final_wh: int | None
) -> tuple[MeterId, ConcentratorId] | None:
    """Close the open installation of a usage point; None when there is none before that time."""
    row = conn.execute(
        _SQL["end_installation"],
        {"usage_point": usage_point, "removed_at": removed_at, "final_wh": final_wh},
    ).fetchone()
    return None if row is None else (MeterId(row[0]), ConcentratorId(row[1]))


def installed(
    conn: Connection,
    *,
    meters: Sequence[MeterId] | None = None,
    usage_points: Sequence[UsagePointId] | None = None,
    concentrator: ConcentratorId | None = None,
    only_open: bool = False,
) -> list[Installed]:
    """Return installations, oldest first; None means any."""
    rows = conn.execute(
        _SQL["installed"],
        {
            "meters": None if meters is None else list(meters),
            "usage_points": None if usage_points is None else list(usage_points),
            "concentrator": concentrator,
            "only_open": only_open,
        },
    )
    return [_installed(row) for row in rows]


def ever_installed_at(conn: Connection, concentrator: ConcentratorId) -> list[Installed]:
    """Return every installation of every meter that ever hung there, oldest first."""
    rows = conn.execute(_SQL["ever_installed_at"], {"concentrator": concentrator})
    return [_installed(row) for row in rows]


def concentrators_of(
    conn: Connection, usage_points: Sequence[UsagePointId]
) -> list[ConcentratorId]:
    """Return the concentrators that ever had a meter of the usage points."""
    rows = conn.execute(_SQL["concentrators_of"], {"usage_points": list(usage_points)})
    return [ConcentratorId(row[0]) for row in rows]


def revisions(conn: Connection, concentrators: Sequence[ConcentratorId]) -> dict[str, int]:
    """Return the revision of each concentrator that has one."""
    rows = conn.execute(_SQL["revisions"], {"concentrators": list(concentrators)})
    return dict(rows.fetchall())


def ratios(conn: Connection, usage_points: Sequence[UsagePointId]) -> list[Ratio]:
    """Return every factor of the usage points, oldest first for each."""
    rows = conn.execute(_SQL["ratios"], {"usage_points": list(usage_points)})
    return [
        Ratio(
            usage_point=UsagePointId(point), valid_from=valid_from, numerator=numerator,
            denominator=denominator, register_wh=register_wh,
        )
        for point, valid_from, numerator, denominator, register_wh in rows
    ]  # fmt: skip


def insert_ratio(conn: Connection, ratio: Ratio, *, actor: str, reason: str, now: datetime) -> bool:
    """Add a factor; tell whether its instant was free."""
    names = ("usage_point", "valid_from", "numerator", "denominator", "register_wh")
    values: dict[str, Any] = {name: getattr(ratio, name) for name in names}
    row = conn.execute(
        _SQL["insert_ratio"], {**values, "actor": actor, "reason": reason, "now": now}
    ).fetchone()
    return row is not None


def insert_changes(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    since: Sequence[datetime],
    *,
    reference: str,
    actor: str,
    now: datetime,
) -> None:
    """Note what was told of usage points from instants on that had passed; others are left out."""
    if usage_points:
        conn.execute(
            _SQL["insert_changes"],
            {"usage_points": list(usage_points), "since": list(since), "reference": reference,
             "actor": actor, "now": now},
        )  # fmt: skip


def points_with_others(
    conn: Connection, usage_points: Sequence[UsagePointId], since: Sequence[datetime]
) -> list[int]:
    """Return the places of installations beside which another begins at their point."""
    asked = {"usage_points": list(usage_points), "since": list(since)}
    return [row[0] for row in conn.execute(_SQL["points_with_others"], asked)]


def take_changes(conn: Connection, limit: int) -> list[PastChange]:
    """Take the oldest changes of past time."""
    rows = conn.execute(_SQL["take_changes"], {"limit": limit})
    return [
        PastChange(usage_point=UsagePointId(point), since=since, reference=reference, actor=actor)
        for point, since, reference, actor in rows
    ]


def insert_ratio_proposal(
    conn: Connection, ratio: Ratio, *, reason: str, actor: str, now: datetime
) -> int:
    """Write down a proposed change of a factor; return its number."""
    names = ("usage_point", "valid_from", "numerator", "denominator", "register_wh")
    values: dict[str, Any] = {name: getattr(ratio, name) for name in names}
    row = conn.execute(
        _SQL["insert_ratio_proposal"], {**values, "reason": reason, "actor": actor, "now": now}
    ).fetchone()
    assert row is not None
    return int(row[0])


def ratio_proposals(
    conn: Connection,
    *,
    id_: int | None = None,
    usage_point: UsagePointId | None = None,
    only_open: bool = False,
    limit: int = 100,
) -> list[RatioProposal]:
    """Return proposed changes of factors, newest first; None is any."""
    rows = conn.execute(
        _SQL["ratio_proposals"],
        {"id": id_, "usage_point": usage_point, "open": only_open, "limit": limit},
    )
    return [
        RatioProposal(
            id=row[0],
            ratio=Ratio(
                usage_point=UsagePointId(row[1]), valid_from=row[2], numerator=row[3],
                denominator=row[4], register_wh=row[5],
            ),
            reason=row[6], proposed_by=row[7], proposed_at=row[8], verified=row[9],
            why=row[10] or "", decided_by=row[11] or "", decided_at=row[12],
        )
        for row in rows
    ]  # fmt: skip


def insert_ratio_decision(
    conn: Connection, id_: int, *, verified: bool, reason: str, actor: str, now: datetime
) -> bool:
    """Write down a decision; tell whether it is the first."""
    row = conn.execute(
        _SQL["insert_ratio_decision"],
        {"id": id_, "verified": verified, "reason": reason, "actor": actor, "now": now},
    ).fetchone()
    return row is not None


def fleet(conn: Connection, since: datetime) -> Fleet:
    """Return what hangs where, and what changed after `since`."""
    rows = conn.execute(_SQL["fleet"], {"since": since}).fetchall()
    changes = conn.execute(_SQL["fleet_changes"], {"since": since})
    return Fleet(
        steady={(ConcentratorId(id_), seconds): meters for id_, seconds, meters in rows},
        changes=tuple(
            FleetChange(
                concentrator=ConcentratorId(id_), seconds=seconds, meter=MeterId(meter),
                installed_at=installed_at, removed_at=removed_at,
            )
            for id_, seconds, meter, installed_at, removed_at in changes
        ),
    )  # fmt: skip


def stays(conn: Connection, usage_points: Sequence[UsagePointId]) -> Stays:
    """Return what hung at the usage points, as columns."""
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(_SQL["stays"], {"usage_points": list(usage_points)}).fetchone()
    octets = row if row is not None and row[0] is not None else (b"", b"", b"", b"", "")
    point, since, until, seconds = (
        np.frombuffer(column, dtype=">i8").astype(np.int64) for column in octets[:4]
    )
    return Stays(
        point=point, since_ms=since, until_ms=until, seconds=seconds,
        zones=octets[4].split(",") if octets[4] else [],
    )  # fmt: skip


def points_by_zone(conn: Connection, kind: PointKind) -> dict[str, list[UsagePointId]]:
    """Return every usage point of a kind by zone."""
    return dict(conn.execute(_SQL["points_by_zone"], {"kind": kind}).fetchall())


def zones_of(conn: Connection, usage_points: Sequence[UsagePointId]) -> dict[UsagePointId, str]:
    """Return the zone of each usage point that exists."""
    rows = conn.execute(_SQL["zones_of"], {"usage_points": list(usage_points)})
    return dict(rows.fetchall())


def _point(row: Sequence[Any]) -> UsagePoint:
    fields: Mapping[str, Any] = dict(zip(_USAGE_POINT, row, strict=True))
    return UsagePoint(**{**fields, "kind": PointKind(fields["kind"])})


def _installed(row: Sequence[Any]) -> Installed:
    installation = Installation(**dict(zip(_INSTALLATION, row[:7], strict=True)))
    return Installed(
        installation=installation,
        meter=Meter(**dict(zip(_METER, (row[0], *row[7:17]), strict=True))),
        usage_point=_point((row[1], *row[17:21])),
    )
