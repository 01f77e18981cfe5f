"""Pure rules of tariff files: read, refuse what is unclear, and name a version by its content."""

import hashlib
import json
from collections.abc import Sequence
from datetime import date

from pydantic import ValidationError

from billing.money import RoundMode
from billing.tariffs.model import EnergyLine, PercentLine, Refusal, Tariff
from billing.tariffs.model.usage import UsageFile
from protocols.errors import RefusedError


def read_tariff(document: bytes) -> Tariff:
    """
    Return the tariff a file holds, after every check that needs no arithmetic.

    Raises: RefusedError `tariffs.shape`, `tariffs.steps` or `tariffs.rounding`, naming the place.
    """
    try:
        tariff = Tariff.model_validate(json.loads(document))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        refusal = Refusal.ROUNDING if "round" in place.split(".")[-1] else Refusal.SHAPE
        raise RefusedError(
            refusal, f"{place or 'file'}: {first['msg']}", fix="correct the file at that place"
        ) from error
    except ValueError as error:
        raise RefusedError(Refusal.SHAPE, f"not JSON: {error}", fix="write UTF-8 JSON") from error
    _check_lines(tariff)
    return tariff


def read_usage(document: bytes) -> UsageFile:
    """
    Return the usage a file holds, after every check that needs no tariff.

    Raises: RefusedError `usage.shape`, `usage.quality` or `usage.negative`, naming the place.
    """
    try:
        return UsageFile.model_validate(json.loads(document))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        refusal, fix = Refusal.USAGE, "correct the file at that place"
        if place == "quality":
            refusal, fix = Refusal.QUALITY, "state quality: actual or estimated"
        elif str(first["input"]).startswith("-"):
            refusal, fix = Refusal.NEGATIVE, "use is 0 or more; export goes into export_kwh"
        raise RefusedError(refusal, f"{place or 'file'}: {first['msg']}", fix=fix) from error
    except ValueError as error:
        raise RefusedError(Refusal.USAGE, f"not JSON: {error}", fix="write UTF-8 JSON") from error


def canonical(document: bytes) -> str:
    """Return the one spelling of a file's content: keys sorted, no blanks, UTF-8."""
    return json.dumps(
        json.loads(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def digest(canonical_text: str) -> str:
    """Return the identity of a version: SHA-256 of its canonical text, in hexadecimal."""
    return hashlib.sha256(canonical_text.encode()).hexdigest()


def check_succession(tariff: Tariff, earlier: Sequence[Tariff], *, today: date) -> None:
    """
    Refuse a version that overlaps another of its code, leaves a gap, or rewrites the past.

    An open-ended forerunner ends where its successor starts. Raises: RefusedError
    `tariffs.validity`.
    """
    if not earlier:
        return
    last = max(earlier, key=lambda version: version.valid_from)
    if tariff.version != last.version + 1:
        raise _validity(f"version {tariff.version} does not follow {last.version}")
    if tariff.currency != last.currency or tariff.zone != last.zone:
        raise _validity("currency and zone of a tariff never change")
    if last.valid_to is not None and tariff.valid_from != last.valid_to:
        raise _validity(f"starts {tariff.valid_from}, its forerunner ends {last.valid_to}")
    if tariff.valid_from <= last.valid_from:
        raise _validity(f"overlaps the version valid from {last.valid_from}")
    if tariff.valid_from <= today:
        raise _validity(f"starts {tariff.valid_from}, which is not after {today}")


def valid_on(versions: Sequence[tuple[str, Tariff]], day: date) -> str | None:
    """Return the digest of the version that prices `day`, or None; a later start wins."""
    found = [
        (tariff.valid_from, hash_)
        for hash_, tariff in versions
        if tariff.valid_from <= day and (tariff.valid_to is None or day < tariff.valid_to)
    ]
    return max(found)[1] if found else None


def _check_lines(tariff: Tariff) -> None:
    seen: list[str] = []
    for line in tariff.lines:
        if line.id in seen:
            raise RefusedError(Refusal.SHAPE, f"two lines are called {line.id}", fix="rename one")
        if isinstance(line, EnergyLine):
            _check_steps(line)
        elif isinstance(line, PercentLine):
            _check_base(line, seen)
        else:
            raise RefusedError(
                Refusal.UNSUPPORTED, f"line {line.id}: {line.kind} is not priced yet", fix="wait"
            )
        seen.append(line.id)
    if not any(isinstance(line, EnergyLine) for line in tariff.lines):
        raise RefusedError(Refusal.SHAPE, "no line prices energy", fix="add an energy line")
    total = tariff.total_round
    if total.mode is RoundMode.NONE and any(
        line.round.mode is RoundMode.NONE for line in tariff.lines
    ):
        raise RefusedError(
            Refusal.ROUNDING,
            "neither a line nor the total is rounded to a step",
            fix="state the step of the line or of the total",
        )


def _check_steps(line: EnergyLine) -> None:
    expected: int | None = 0
    for number, step in enumerate(line.steps, start=1):
        if expected is None:
            raise _steps(line, number, "follows an open step")
        if step.over_wh > expected:
            raise _steps(line, number, f"leaves a gap of {step.over_wh - expected} Wh before it")
        if step.over_wh < expected:
            raise _steps(line, number, f"overlaps its forerunner by {expected - step.over_wh} Wh")
        if step.upto_wh is not None and step.upto_wh <= step.over_wh:
            raise _steps(line, number, "ends where or before it starts")
        expected = step.upto_wh
    if expected is not None:
        raise _steps(line, len(line.steps), "is the last and must be open (upto_kwh null)")


def _check_base(line: PercentLine, earlier: Sequence[str]) -> None:
    unknown = [base for base in line.base if base not in earlier]
    if unknown:
        raise RefusedError(
            Refusal.SHAPE,
            f"line {line.id} is a share of {unknown[0]}, which is no earlier line",
            fix="put the base line before it",
        )


def _steps(line: EnergyLine, number: int, message: str) -> RefusedError:
    return RefusedError(
        Refusal.STEPS,
        f"line {line.id}: step {number} {message}",
        fix="steps must touch: each starts where the one before ends",
    )


def _validity(message: str) -> RefusedError:
    return RefusedError(
        Refusal.VALIDITY, message, fix="publish a new version that starts tomorrow or later"
    )
