"""Looking at commands."""

from cloud.control.model import CommandRow
from cloud.control.store import commands as rows
from cloud.store.db import Connection
from protocols.identity import CommandId, UsagePointId


def commands_of(conn: Connection, usage_point: UsagePointId) -> list[CommandRow]:
    """Return the commands of one supply, newest first, with their evidence."""
    return rows.commands_of(conn, usage_point)


def command_of(conn: Connection, id_: CommandId) -> CommandRow | None:
    """Return one command, or None."""
    return rows.command(conn, id_)
