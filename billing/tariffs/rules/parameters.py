"""
The figures of a tariff file that an order of prices changes, and the next version made with them.

A changed version is proven by totals that a person worked out by hand: totals of the version before
hold no longer, and none is ever taken from the kernel that they are to prove.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from billing.tariffs.model import Refusal
from protocols.errors import RefusedError

FIGURES = ("price", "percent", "per_point", "free_percent", "above_contract_percent", "kwh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One figure: where it stands, and the stretch it holds for where it is a step's."""

    place: str
    """Keys and positions below the line, after the line's id, such as `energy/steps/0/price`."""
    line: str
    figure: str
    value: str
    over: str | None = None
    upto: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A worked example whose total a person states anew; `number` is its place in the file."""

    number: int
    name: str
    use: Mapping[str, Any]
    total: str


def parameters_of(document: Mapping[str, Any]) -> list[Parameter]:
    """Return the figures of every line, in the order of the bill."""
    return [
        Parameter(
            place="/".join((str(line["id"]), *map(str, path))), line=str(line["id"]),
            figure=str(path[-1]), value=str(holder[str(path[-1])]),
            over=_edge(holder, "over"), upto=_edge(holder, "upto"),
        )
        for line in document["lines"]
        for path, holder in _figures(line, ())
    ]  # fmt: skip


def examples_of(document: Mapping[str, Any], valid_from: date) -> list[Example]:
    """
    Return the worked examples that can be stated for a version valid from a day.

    A period that begins before it is moved by whole years; one with readings or intervals of its
    own days is left out.
    """
    found = []
    for number, case in enumerate(document["test_cases"]):
        use = _moved(case, valid_from)
        if use is not None:
            found.append(
                Example(number=number, name=str(case["name"]), use=use, total=str(case["total"]))
            )
    return found


def next_version(
    document: Mapping[str, Any], *, valid_from: date, values: Mapping[str, str],
    totals: Mapping[int, str], legal_ref: str, source: str,
) -> bytes:  # fmt: skip
    """
    Return the file of the version that follows, with other figures and hand-worked totals.

    Raises: RefusedError `tariffs.shape` for a place that is none, or no source; `tariffs.case` when
    no total is stated.
    """
    if not legal_ref.strip() or not source.strip():
        raise RefusedError(
            Refusal.SHAPE, "the order or law is not named", fix="state what sets the new figures"
        )
    file = json.loads(json.dumps(document))
    lines = {str(line["id"]): line for line in file["lines"]}
    known = {each.place for each in parameters_of(document)}
    for place, value in values.items():
        if place not in known:
            raise RefusedError(Refusal.SHAPE, f"the file has no figure {place[:80]!r}")
        name, *path = place.split("/")
        holder: Any = lines[name]
        for key in path[:-1]:
            holder = holder[int(key)] if isinstance(holder, list) else holder[key]
        holder[path[-1]] = value
    cases = _cases(document, valid_from, totals)
    if not cases:
        raise RefusedError(
            Refusal.CASE, "no example has a total", fix="work one total out by hand and state it"
        )
    file |= {
        "version": int(document["version"]) + 1, "valid_from": valid_from.isoformat(),
        "valid_to": None, "test_cases": cases, "legal_ref": legal_ref.strip(),
        "sources": [source.strip()],
    }  # fmt: skip
    return json.dumps(file, ensure_ascii=False).encode()


def _cases(
    document: Mapping[str, Any], valid_from: date, totals: Mapping[int, str]
) -> list[dict[str, Any]]:
    return [
        {"name": example.name, **example.use, "total": totals[example.number].strip()}
        for example in examples_of(document, valid_from)
        if totals.get(example.number, "").strip()
    ]


def _moved(case: Mapping[str, Any], valid_from: date) -> dict[str, Any] | None:
    """Return what an example prices, on days that the new version is valid on."""
    if "usage" not in case:
        return {"from_kwh": case["from_kwh"], "to_kwh": case["to_kwh"]}
    usage = json.loads(json.dumps(case["usage"]))
    if {"readings", "intervals", "profile"} & usage.keys():
        return None
    start, end = (date.fromisoformat(usage["period"][side]) for side in ("start", "end"))
    while start < valid_from:
        start, end = _year_later(start), _year_later(end)
    usage["period"] = {"start": start.isoformat(), "end": end.isoformat()}
    return {"usage": usage}


def _year_later(day: date) -> date:
    """Return the same day of the next year; 29 February becomes 1 March, as a period's edge."""
    if (day.month, day.day) == (2, 29):
        return date(day.year + 1, 3, 1)
    return day.replace(year=day.year + 1)


def _figures(
    part: Mapping[str, Any], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    for key, value in part.items():
        if key in FIGURES and isinstance(value, str):
            yield (*path, key), part
        elif isinstance(value, list):
            yield from _of_list(value, (*path, key))
        elif isinstance(value, dict) and key not in ("label", "when", "scope"):
            yield from _figures(value, (*path, key))


def _of_list(
    parts: Sequence[Any], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    for number, part in enumerate(parts):
        if isinstance(part, dict):
            yield from _figures(part, (*path, number))


def _edge(holder: Mapping[str, Any], side: str) -> str | None:
    return next((holder[key] for key in (f"{side}_kwh", f"{side}_kw") if key in holder), None)
