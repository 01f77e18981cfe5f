"""What the verbs of usage share: a point, days, the database of an installation, one's zone."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from cloud.assets import service as assets
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database
from meterloop.cli.answer import installation_from
from meterloop.stack import address_of_database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import TimeScale

DAY = ["%Y-%m-%d"]

Point = Annotated[str, typer.Argument(metavar="USAGE_POINT", help="Where supply is metered.")]
From = Annotated[
    datetime | None, typer.Option("--from", formats=DAY, help="First day, in the point's zone.")
]
To = Annotated[datetime | None, typer.Option("--to", formats=DAY, help="The day after the last.")]


class Refusal(StrEnum):
    """Why a question about consumption has no answer."""

    UNKNOWN_POINT = "usage.unknown_point"
    SPAN = "usage.span"


@contextmanager
def opened(config: Path | None) -> Iterator[tuple[Database, datetime]]:
    """Yield the database of an installation and its present instant. Raises: ConfigError."""
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    with Database(address_of_database(installation), application="meterloop-usage", size=1) as db:
        yield db, now


def zone_of(conn: Connection, id_: UsagePointId) -> ZoneInfo:
    """Return the zone of a usage point. Raises: RefusedError `usage.unknown_point`."""
    found = assets.usage_point(conn, id_)
    if found is None:
        raise RefusedError(
            Refusal.UNKNOWN_POINT, f"there is no usage point {id_!r}",
            fix="the office page of a customer names its usage point",
        )  # fmt: skip
    return ZoneInfo(found.zone)
