"""SQL of registers that the machine estimates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.vee.model import OverlayKind, SaidOfRegister
from protocols.identity import UsagePointId
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRegister:
    """
    What the machine says of one register, in versions. *Units*: Wh.

    `references` counts the values of meters that it rests on, the oldest of them at `rests_from`.
    """

    usage_point: UsagePointId
    version: int
    created_at: datetime
    kind: int
    wh: int
    method: str
    reason: str
    references: int
    rests_from: datetime | None

    def says_as(self, other: "MachineRegister") -> bool:
        """Tell whether the other says the same, whenever it was said."""
        return replace(self, version=0, created_at=other.created_at) == replace(other, version=0)


def newest(
    conn: Connection, usage_points: Sequence[UsagePointId], at: datetime
) -> dict[UsagePointId, MachineRegister]:
    """Return what the machine says of the register at an instant, by usage point."""
    rows = conn.execute(
        _SQL["newest_machine_registers"], {"usage_points": list(usage_points), "at": at}
    )
    names = tuple(MachineRegister.__dataclass_fields__)
    found = [MachineRegister(**dict(zip(names, row, strict=True))) for row in rows]
    return {each.usage_point: each for each in found}


def versions(conn: Connection, usage_point: UsagePointId, span: Interval) -> list[SaidOfRegister]:
    """Return everything ever said over registers at instants in `span` or at its end."""
    rows = conn.execute(
        _SQL["register_versions"],
        {"usage_point": usage_point, "start": span.start, "end": span.end},
    )
    return [
        SaidOfRegister(
            at=at, layer=layer, version=version, created_at=created_at, kind=OverlayKind(kind),
            wh=wh, method=method, reason=reason, rule_set=rule_set, references=references,
            rests_from=rests_from, actor=actor, verified_by=verified_by,
        )
        for at, layer, version, created_at, kind, wh, method, reason, rule_set, references,
        rests_from, actor, verified_by in rows
    ]  # fmt: skip


def insert(
    conn: Connection, rows: Sequence[MachineRegister], *, at: datetime, rule_set: str
) -> None:
    """Write versions of what the machine says of registers at an instant."""
    with conn.cursor() as cursor:
        cursor.executemany(
            _SQL["insert_machine_register"],
            [{**asdict(row), "at": at, "rule_set": rule_set} for row in rows],
        )
