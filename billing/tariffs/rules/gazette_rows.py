"""The rows of a gazette's table as text, checked: known columns, known kinds, plain numbers."""

import csv
import io
from collections.abc import Mapping

from billing.tariffs.model import Refusal
from protocols.errors import RefusedError

LANGUAGES = ("en", "fa", "ru", "uz", "zh")
COLUMNS = (
    "line", "kind", *[f"label_{language}" for language in LANGUAGES], "qty", "periods", "over",
    "upto", "price", "per", "percent", "base", "widths", "reset", "mode", "share", "coef",
    "months", "days", "from", "to", "prorate", "round_step", "round_mode", "ledger_code",
)  # fmt: skip
NEEDED = ("line", "kind")
STEPPED = {"energy": "kwh", "export": "kwh", "demand": "kw", "capacity": "kw"}
VALUED = ("fixed", "minimum", "maximum", "subsidy")
KINDS = (*STEPPED, *VALUED, "percent", "sum", "tou", "holiday")

_ALLOWED: dict[str, frozenset[str]] = {
    "energy": frozenset({"qty", "periods", "over", "upto", "price", "widths", "reset", "mode",
                         "share", "coef"}),
    "export": frozenset({"periods", "over", "upto", "price", "widths", "reset", "mode", "coef"}),
    "demand": frozenset({"qty", "periods", "over", "upto", "price", "per", "coef", "prorate"}),
    "capacity": frozenset({"qty", "over", "upto", "price", "per", "coef", "prorate"}),
    **dict.fromkeys(VALUED, frozenset({"qty", "price", "per", "base", "coef", "prorate"})),
    "percent": frozenset({"percent", "base"}),
    "sum": frozenset({"base"}),
    "tou": frozenset({"months", "days", "from", "to"}),
    "holiday": frozenset({"days"}),
}  # fmt: skip
_OF_LINES = frozenset({"round_step", "round_mode", "ledger_code", "months",
                       *[f"label_{language}" for language in LANGUAGES]})  # fmt: skip
OF_STEPS = frozenset({"line", "kind", "over", "upto", "price"})
Row = Mapping[str, str]


def read_rows(document: bytes) -> list[Row]:
    """Return every row with its filled cells. Raises: RefusedError naming row and column."""
    try:
        text = document.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedError(Refusal.SHAPE, "not UTF-8", fix="save the table as UTF-8") from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    names = [str(name).strip() for name in reader.fieldnames or []]
    strange = [name for name in names if name not in COLUMNS]
    missing = [name for name in NEEDED if name not in names]
    if strange or missing or len(set(names)) < len(names):
        wrong = f"no column {strange[0]!r}" if strange else f"column {', '.join(missing)} missing"
        raise RefusedError(
            Refusal.SHAPE, f"row 1: {wrong}", fix=f"columns are {', '.join(COLUMNS)}, each once"
        )
    reader.fieldnames = names
    found: list[Row] = []
    for number, row in enumerate(reader, start=2):
        if None in row or None in row.values():
            raise _wrong(number, "has more or fewer cells than row 1", "give every cell its column")
        filled = {name: _plain(cell) for name, cell in row.items() if cell and cell.strip()}
        if filled:
            _check_row(number, filled)
            found.append(filled)
    if not found:
        raise RefusedError(Refusal.SHAPE, "the table has no rows", fix="write one line at least")
    return found


def _plain(cell: str) -> str:
    """Return a cell with digits of any script as 0 to 9, and no blanks around it."""
    return "".join(str(int(letter)) if letter.isdecimal() else letter for letter in cell.strip())


def _check_row(number: int, row: Row) -> None:
    for name in NEEDED:
        if name not in row:
            raise _wrong(number, f"has no {name}", f"state {name} in every row")
    kind = row["kind"]
    if kind not in KINDS:
        raise RefusedError(
            Refusal.UNSUPPORTED, f"row {number}: kind {kind!r} cannot be imported",
            fix=f"use {', '.join(KINDS)}, or write the line by hand",
        )  # fmt: skip
    allowed = _ALLOWED[kind] | {"line", "kind"}
    if kind not in ("tou", "holiday"):
        allowed |= _OF_LINES
    strange = sorted(set(row) - allowed)
    if strange:
        raise _wrong(
            number, f"a {kind} has no {strange[0]}", f"it has {', '.join(sorted(allowed))}"
        )
    for name in ("over", "upto", "price", "percent", "round_step"):
        if "," in row.get(name, ""):
            raise _wrong(number, f"{name} has a comma", "write a decimal point, no thousands")


def stated(row: Row, name: str) -> str:
    """Return a cell that must be there. Raises: RefusedError `tariffs.shape`."""
    if name not in row:
        raise RefusedError(Refusal.SHAPE, f"line {row['line']}: no {name}", fix=f"state its {name}")
    return row[name]


def numbers(row: Row, name: str) -> list[int]:
    """Return numbers and stretches of them: `6 7 8` or `6-8`."""
    found: list[int] = []
    for part in row[name].split():
        low, _, high = part.partition("-")
        if not low.isdigit() or not (high or low).isdigit():
            raise RefusedError(
                Refusal.SHAPE, f"line {row['line']}: {name} {part!r} is no number",
                fix="write 6 7 8 or 6-8",
            )  # fmt: skip
        found += range(int(low), int(high or low) + 1)
    return found


def _wrong(number: int, message: str, fix: str) -> RefusedError:
    return RefusedError(Refusal.SHAPE, f"row {number}: {message}", fix=fix)
