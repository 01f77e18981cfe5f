"""A peer's settlement file as people paste it: comma-separated text to rows, exactly."""

import csv
import io
from datetime import datetime

from billing.payments.model import FileRow, Refusal
from portal.amounts import micros_of
from protocols.errors import RefusedError

COLUMNS = ("peer_txn_id", "account", "amount", "currency", "peer_time")
MOST_ROWS = 20_000


def rows_of(text: str) -> list[FileRow]:
    """
    Return the rows of a file whose first line names the columns.

    Raises: RefusedError `payments.file`, naming the line that is wrong.
    """
    reader = csv.DictReader(io.StringIO(text.strip()))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise _bad(1, f"its first line is not {','.join(COLUMNS)}")
    found = []
    for number, row in enumerate(reader, start=2):
        if None in row or None in row.values() or number > MOST_ROWS:
            raise _bad(number, "it has not one value for each column, or is one line too many")
        try:
            found.append(
                FileRow(
                    peer_txn_id=row["peer_txn_id"].strip(), account=row["account"].strip(),
                    amount_micros=micros_of(row["amount"]), currency=row["currency"].strip(),
                    peer_time=datetime.fromisoformat(row["peer_time"].strip()),
                )
            )  # fmt: skip
        except (ValueError, RefusedError) as error:
            raise _bad(number, str(error)) from error
    return found


def _bad(number: int, message: str) -> RefusedError:
    return RefusedError(
        Refusal.FILE, f"line {number} of the file: {message}",
        fix=f"write {','.join(COLUMNS)}; times with their offset",
    )  # fmt: skip
