"""Pure rules of tariff files: read, refuse what is unclear, and name a version by its content."""

import hashlib
import json
from collections.abc import Sequence
from datetime import date

from pydantic import ValidationError

from billing.tariffs.model import Refusal, Tariff
from billing.tariffs.model.usage import UsageFile
from billing.tariffs.rules.checks import check_tariff
from protocols.errors import RefusedError


def read_tariff(document: bytes) -> Tariff:
    """
    Return the tariff a file holds, after every check that needs no arithmetic.

    Raises: RefusedError `tariffs.*`, naming the place.
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
    check_tariff(tariff)
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


def _validity(message: str) -> RefusedError:
    return RefusedError(
        Refusal.VALIDITY, message, fix="publish a new version that starts tomorrow or later"
    )
