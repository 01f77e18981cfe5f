"""
Rule sets: which checks look at a customer class from a date on, and what they are told.

A rule set is one JSON file. Every value stands beside its source, and the file is refused as a
whole when a name is unknown, a value is missing or a source is empty. A set may rest on another:
what it does not say is taken from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.vee.model import ExceptionKind
from cloud.vee.rules.findings import Severity
from cloud.vee.rules.parameters import PARAMETERS, EstimateParameters, Parameters
from protocols.errors import RefusedError


class Refusal(StrEnum):
    """Why a rule set cannot be used."""

    SHAPE = "vee.rule_set_shape"
    UNKNOWN = "vee.rule_set_unknown"


class Method(StrEnum):
    """Name of each way to estimate. The words are stable: they stand in tables and files."""

    ZERO = "zero"
    CHECK_METER = "check_meter"
    SUBTRACTIVE = "subtractive"
    LINEAR = "linear"
    ANALOGUE = "analogue"
    LIKE_DAY = "like_day"
    LIKE_DAY_TWO_WEEK = "like_day_two_week"
    PROXY_DAY = "proxy_day"
    LOAD_PROFILE = "load_profile"
    FLAT_FROM_REGISTER = "flat_from_register"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one check is told by a rule set."""

    severity: Severity
    parameters: Parameters
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """The rules of one customer class from `valid_from` on."""

    name: str
    version: int
    customer_class: str
    valid_from: date
    checks: dict[ExceptionKind, Told]
    estimate: EstimateParameters


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Value(_Strict):
    value: int = Field(ge=0, le=10**12)
    source: str = Field(min_length=3)


class _Check(_Strict):
    severity: Severity = Field(strict=False)
    parameters: dict[str, _Value]


class _Methods(_Strict):
    value: tuple[Method, ...] = Field(strict=False, min_length=1)
    source: str = Field(min_length=3)


class _Profile(_Strict):
    value: tuple[int, ...] = Field(strict=False, min_length=24, max_length=24)
    source: str = Field(min_length=3)


class _Estimate(_Strict):
    with_register: _Methods
    without_register: _Methods
    parameters: dict[str, _Value]
    load_profile: _Profile | None = None


class _File(_Strict):
    name: str = Field(min_length=1, max_length=64)
    version: int = Field(ge=1)
    customer_class: str = Field(min_length=1, max_length=64)
    valid_from: date = Field(strict=False)
    rests_on: str = ""
    checks: dict[ExceptionKind, _Check | None] = Field(strict=False, default_factory=dict)
    estimate: _Estimate | None = None


def read_rule_set(octets: bytes, base: RuleSet | None = None) -> RuleSet:
    """
    Return the rule set in a JSON file; `base` is the set that it rests on.

    A check that is null there does not look. Raises: RefusedError `vee.rule_set_shape` naming the
    place at fault.
    """
    try:
        told = _File.model_validate_json(octets)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _refused(f"{place}: {first['msg']}") from error
    if bool(told.rests_on) != (base is not None) or (base and base.name != told.rests_on):
        raise _refused(f"rests_on: the set {told.rests_on or 'that it rests on'} is not given")
    checks = dict(base.checks) if base else {}
    for code, check in told.checks.items():
        if code not in PARAMETERS:
            raise _refused(f"checks.{code}: the stream finds that itself, no rule set tells it how")
        if check is None:
            checks.pop(code, None)
        else:
            checks[code] = _told(code, check)
    estimate = _estimate(told.estimate) if told.estimate else base.estimate if base else None
    if estimate is None:
        raise _refused("estimate: a set that rests on no other says how to estimate")
    return RuleSet(
        name=told.name, version=told.version, customer_class=told.customer_class,
        valid_from=told.valid_from, checks=checks, estimate=estimate,
    )  # fmt: skip


def rule_set_for(sets: Sequence[RuleSet], customer_class: str, day: date) -> RuleSet:
    """
    Return the newest set of a class that is valid on `day`; class `any` stands in for all.

    Raises: RefusedError `vee.rule_set_unknown` when no set is valid then.
    """
    for wanted in (customer_class, "any"):
        valid = [each for each in sets if each.customer_class == wanted and each.valid_from <= day]
        if valid:
            return max(valid, key=lambda each: (each.valid_from, each.version))
    raise RefusedError(
        Refusal.UNKNOWN, f"no rule set of class {customer_class!r} is valid on {day}",
        fix="give a set that is valid from an earlier date, or one of class any",
    )  # fmt: skip


def _told(code: ExceptionKind, check: _Check) -> Told:
    values = _named(PARAMETERS[code], check.parameters, f"checks.{code}")
    return Told(
        severity=check.severity, parameters=PARAMETERS[code](**values),
        sources=tuple(sorted({each.source for each in check.parameters.values()})),
    )  # fmt: skip


def _estimate(told: _Estimate) -> EstimateParameters:
    lists = {"with_register", "without_register", "load_profile"}
    wanted = [each.name for each in fields(EstimateParameters) if each.name not in lists]
    _same(set(wanted), set(told.parameters), "estimate")
    return EstimateParameters(
        with_register=tuple(method.value for method in told.with_register.value),
        without_register=tuple(method.value for method in told.without_register.value),
        load_profile=told.load_profile.value if told.load_profile else (),
        **{name: each.value for name, each in told.parameters.items()},
    )


def _named(kind: type[Parameters], given: dict[str, _Value], place: str) -> dict[str, Any]:
    _same({each.name for each in fields(kind)}, set(given), place)
    return {name: each.value for name, each in given.items()}


def _same(wanted: set[str], given: set[str], place: str) -> None:
    if wanted != given:
        odd = ", ".join(sorted(wanted ^ given))
        raise _refused(f"{place}.parameters: {odd}: unknown or missing")


def _refused(fault: str) -> RefusedError:
    return RefusedError(
        Refusal.SHAPE, f"the rule set cannot be used: {fault}",
        fix="see docs/vee.md for the form; every value stands beside its source",
    )  # fmt: skip
