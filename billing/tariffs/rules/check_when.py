"""Checks of predicates and of the attributes that they ask for."""

from collections.abc import Iterator, Sequence

from billing.tariffs.model import (
    AllOf,
    AnyOf,
    Compare,
    Equals,
    InMonths,
    Line,
    Member,
    Not,
    Predicate,
    Refusal,
    Tariff,
    UseBand,
)
from billing.tariffs.model.parts import TIMED
from billing.tariffs.rules.refusing import refused, unsupported


def check_when(tariff: Tariff, line: Line) -> None:
    """Refuse a predicate that compares what cannot be compared. Raises: RefusedError."""
    if line.when is not None:
        for part in _predicates(line.when):
            _check_predicate(tariff, line, part)


def _predicates(asked: Predicate) -> Iterator[Predicate]:
    yield asked
    match asked:
        case AllOf():
            parts: tuple[Predicate, ...] = asked.all_of
        case AnyOf():
            parts = asked.any_of
        case Not():
            parts = (asked.negated,)
        case _:
            parts = ()
    for part in parts:
        yield from _predicates(part)


def _check_predicate(tariff: Tariff, line: Line, asked: Predicate) -> None:
    match asked:
        case UseBand():
            if len(TIMED.intersection(asked.widths)) > 1:
                raise unsupported(line, "a band that scales with two times")
            if asked.upto is not None and asked.upto <= asked.over:
                raise refused(
                    Refusal.STEPS, f"line {line.id}: a band of its when is empty", "let it be wider"
                )
        case Equals() | Member() | Compare():
            values = asked.any_of if isinstance(asked, Member) else ()
            values = (asked.eq,) if isinstance(asked, Equals) else values
            _check_attribute(tariff, line, asked.attr, values, ordered=isinstance(asked, Compare))
        case InMonths() | AllOf() | AnyOf() | Not():
            pass


def _check_attribute(
    tariff: Tariff, line: Line, name: str, values: Sequence[bool | int | str], *, ordered: bool
) -> None:
    known = tariff.attributes.get(name)
    if known is None:
        raise refused(
            Refusal.SHAPE,
            f"line {line.id}: when asks for the attribute {name}, which is not declared",
            "declare it in attributes, with its kind and default",
        )
    kinds = {"bool": bool, "int": int, "text": str}
    wrong = [
        value for value in values
        if type(value) is not kinds[known.kind]
        or (known.kind == "text" and value not in known.values)
    ]  # fmt: skip
    if wrong or (ordered and known.kind != "int"):
        raise refused(
            Refusal.SHAPE,
            f"line {line.id}: the attribute {name} is {known.kind} and cannot be compared so",
            f"compare with a value it can have: {', '.join(known.values) or known.kind}",
        )


def check_attributes(tariff: Tariff) -> None:
    """Refuse attributes whose default or values do not fit their kind. Raises: RefusedError."""
    kinds = {"bool": bool, "int": int, "text": str}
    for name, stated in tariff.attributes.items():
        text = stated.kind == "text"
        fits = stated.default is None or type(stated.default) is kinds[stated.kind]
        if text and stated.default is not None:
            fits = fits and stated.default in stated.values
        if not fits or text != bool(stated.values):
            raise refused(
                Refusal.SHAPE,
                f"attributes.{name}: values or default do not fit the kind {stated.kind}",
                "a text has values and a default among them, a bool or int has no values",
            )
