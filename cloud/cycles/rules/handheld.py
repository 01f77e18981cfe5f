"""
The file that goes to a handheld and the one that comes back; CSV for any device, JSON for ours.

Out: one line a task, in walking order. Back: one line an entry. A line that is wrong is told with
its number and the others are taken. Figures are kilowatt-hours as the display shows them, in any
digits; times carry their zone.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from cloud.cycles.model import Entry, HighLow, MissCode, Observation, Refusal, Source, Task, TaskId
from protocols.errors import RefusedError
from protocols.identity import MeterId

OUT = ("task", "position", "usage_point", "meter", "last_at", "last_kwh", "low_kwh", "high_kwh",
       "reader")  # fmt: skip
BACK = ("key", "task", "read_at", "register_kwh", "meter", "miss", "observations", "note", "photo")
MOST_ROWS = 100_000
_MOST_TEXT = 2000
_KWH = re.compile(r"(\d{1,10})(?:[.,](\d{1,3}))?")
_DAY_S = 86_400

Word = TypeVar("Word", bound=StrEnum)


class Form(StrEnum):
    """What a file is."""

    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongRow:
    """A line that is no entry: its number in the file (the first entry is 1) and why."""

    row: int
    why: str


def written(tasks: Sequence[Task], form: Form, limits: HighLow, *, due: datetime) -> str:
    """Return the file of a list; low and high are what is believed without a second look."""
    rows = [_out(task, limits, due) for task in tasks]
    if form is Form.JSON:
        return json.dumps(
            {"meterloop_reading_list": 1, "tasks": rows}, ensure_ascii=False, indent=1
        )
    text = io.StringIO(newline="")
    out = csv.DictWriter(text, OUT, lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()


def parsed(text: str, form: Form) -> tuple[list[Entry], list[WrongRow]]:
    """Return the entries of a file and the lines that are none. Raises: RefusedError FILE."""
    rows = _json_rows(text) if form is Form.JSON else _csv_rows(text)
    entries: list[Entry] = []
    wrong: list[WrongRow] = []
    for number, row in enumerate(rows, start=1):
        if number > MOST_ROWS:
            raise _refusal(f"the file has more than {MOST_ROWS} entries", "send it in parts")
        try:
            entries.append(_entry(row))
        except ValueError as error:
            wrong.append(WrongRow(row=number, why=str(error)))
    return entries, wrong


def wh_of(text: str) -> int:
    """Return kilowatt-hours as a display shows them in Wh. Raises: ValueError with what to do."""
    plain = "".join(str(int(digit)) if digit.isdigit() else digit for digit in text.strip())
    found = _KWH.fullmatch(plain)
    if found is None:
        raise ValueError(f"{text[:30]!r} is no register in kWh with at most three places")
    return int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0"))


def kwh_of(wh: int | None) -> str:
    """Return Wh as the display shows them, empty where there is nothing."""
    return "" if wh is None else f"{wh // 1000}.{wh % 1000:03}"


def _out(task: Task, limits: HighLow, due: datetime) -> dict[str, Any]:
    low = high = None
    if task.last_wh is not None and task.last_at is not None and task.daily_wh is not None:
        usual = task.daily_wh * max(0, int((due - task.last_at).total_seconds())) // _DAY_S
        low = task.last_wh + usual * limits.low_permille // 1000
        high = task.last_wh + max(usual * limits.high_permille // 1000, limits.ignore_below_wh)
    return {
        "task": task.id, "position": task.position, "usage_point": task.usage_point,
        "meter": task.meter, "last_at": task.last_at.isoformat() if task.last_at else "",
        "last_kwh": kwh_of(task.last_wh), "low_kwh": kwh_of(low), "high_kwh": kwh_of(high),
        "reader": task.reader or "",
    }  # fmt: skip


def _csv_rows(text: str) -> Iterable[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        names = rows.fieldnames or []
        missing = [name for name in ("key", "task", "read_at") if name not in names]
        unknown = [str(name) for name in names if name not in BACK]
        if missing or unknown:
            raise _refusal(
                f"columns missing: {missing}, unknown: {unknown[:5]}",
                f"the columns are {', '.join(BACK)}",
            )
        yield from rows
    except csv.Error as error:
        raise _refusal(f"no CSV: {error}", "save it as comma separated text in UTF-8") from error


def _json_rows(text: str) -> Iterable[dict[str, Any]]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(f"no JSON: {str(error)[:100]}", "send it as the device wrote it") from error
    rows = told.get("entries") if isinstance(told, dict) else None
    if not isinstance(rows, list):
        raise _refusal("the file has no list `entries`", "send it as the device wrote it")
    for row in rows:
        yield row if isinstance(row, dict) else {}


def _entry(row: dict[str, Any]) -> Entry:
    def text(name: str) -> str:
        value = row.get(name)
        if value is None:
            return ""
        if isinstance(value, bool | float | list | dict) or len(str(value)) > _MOST_TEXT:
            raise ValueError(f"{name} is no text of at most {_MOST_TEXT} characters")
        return str(value).strip()

    if None in row:
        raise ValueError("the line has more fields than columns")
    if not 8 <= len(text("key")) <= 64:
        raise ValueError("key must have 8 to 64 characters, drawn once for each entry")
    if not text("task").isascii() or not text("task").isdigit() or len(text("task")) > 18:
        raise ValueError(f"task {text('task')[:20]!r} is no number of the list")
    try:
        at = datetime.fromisoformat(text("read_at"))
    except ValueError:
        raise ValueError(f"read_at {text('read_at')[:40]!r} is no ISO 8601 time") from None
    if at.tzinfo is None:
        raise ValueError("read_at names no zone: add Z or an offset such as +08:00")
    return Entry(
        key=text("key"),
        task=TaskId(int(text("task"))),
        source=Source.HANDHELD,
        at=at,
        meter=MeterId(text("meter")) if text("meter") else None,
        wh=wh_of(text("register_kwh")) if text("register_kwh") else None,
        miss=_word(MissCode, text("miss"), "miss") if text("miss") else None,
        observations=tuple(
            _word(Observation, word.strip(), "observations")
            for word in text("observations").split(";")
            if word.strip()
        ),
        note=text("note"),
        photo=text("photo").lower(),
    )


def _word(words: type[Word], text: str, name: str) -> Word:
    try:
        return words(text)
    except ValueError:
        known = ", ".join(words)
        raise ValueError(f"{name} {text[:30]!r} is not one of {known}") from None


def _refusal(why: str, fix: str) -> RefusedError:
    return RefusedError(Refusal.FILE, why, fix=fix)
