"""Verbs that take a foreign rate as a tariff file: OpenEI's rate database, a gazette's table."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from billing.rating import service as rating
from billing.rating.rules.first_cases import with_first_cases
from billing.tariffs.rules.gazette import tariff_from_gazette
from billing.tariffs.rules.import_terms import ImportTerms
from billing.tariffs.rules.urdb import tariff_from_urdb
from meterloop.cli.answer import JsonFlag, failures_told, say
from meterloop.config import ConfigError

_CHECK = "compare them with the source before you publish the file"

Foreign = Annotated[Path, typer.Argument(help="The file to take.")]
Out = Annotated[Path, typer.Option(help="Where the tariff file is written.")]
Code = Annotated[str, typer.Option(help="Code of the tariff. Default: the name of --out.")]
Version = Annotated[int, typer.Option(min=1, help="Version of the code.")]
Zone = Annotated[str, typer.Option(help="Time zone of its days, such as America/Chicago.")]
Currency = Annotated[str, typer.Option(help="ISO 4217 code.")]
Digits = Annotated[int, typer.Option("--minor-units", min=0, max=6, help="Digits of money.")]
ValidFrom = Annotated[str, typer.Option(help="First day, YYYY-MM-DD. Default: the file's.")]
Limit = Annotated[
    list[str] | None,
    typer.Option(help="The most an account has in a period: energy_kwh=50000. Repeatable."),
]
Share = Annotated[
    Literal["own", "pro_rata"] | None,
    typer.Option(help="How steps meet hours: each period its own steps, or shares of one ladder."),
]
Vat = Annotated[bool, typer.Option("--vat-included", help="Its prices include VAT.")]
LegalRef = Annotated[str, typer.Option(help="Decree or order that sets the rate.")]
Source = Annotated[list[str] | None, typer.Option(help="Where it is published. Repeatable.")]
LeaveOut = Annotated[
    list[str] | None,
    typer.Option(help="A field that is refused and shall be left out by intent. Repeatable."),
]


def register(tariff: typer.Typer) -> None:
    """Add `import` to the verbs of tariffs."""
    verbs = typer.Typer(no_args_is_help=True, help="Take a foreign rate as a tariff file.")
    verbs.command("urdb")(from_urdb)
    verbs.command("gazette")(from_gazette)
    tariff.add_typer(verbs, name="import")


def from_urdb(
    file: Foreign,
    *,
    out: Out,
    zone: Zone,
    code: Code = "",
    version: Version = 1,
    currency: Currency = "USD",
    minor_units: Digits = 2,
    valid_from: ValidFrom = "",
    limit: Limit = None,
    share: Share = None,
    leave_out: LeaveOut = None,
    vat_included: Vat = False,
    legal_ref: LegalRef = "",
    source: Source = None,
    as_json: JsonFlag = False,
) -> None:
    """Take one rate of OpenEI's Utility Rate Database (JSON of its API, version 7 or 8)."""
    with failures_told(as_json=as_json):
        terms = ImportTerms(
            code=code or _code_of(out), zone=zone, version=version, currency=currency,
            minor_units=minor_units, valid_from=_day(valid_from), limits=_limits(limit),
            share=share, left_out=tuple(leave_out or ()), vat_included=vat_included,
            legal_ref=legal_ref, sources=tuple(source or ()),
        )  # fmt: skip
        _take(file, out, terms, tariff_from_urdb, as_json=as_json)


def from_gazette(
    file: Foreign,
    *,
    out: Out,
    zone: Zone,
    currency: Currency,
    valid_from: ValidFrom,
    code: Code = "",
    version: Version = 1,
    minor_units: Digits = 2,
    limit: Limit = None,
    share: Share = None,
    vat_included: Vat = False,
    legal_ref: LegalRef = "",
    source: Source = None,
    as_json: JsonFlag = False,
) -> None:
    """Take the table of a gazette (CSV; its columns are told in docs/tariff-import.md)."""
    with failures_told(as_json=as_json):
        terms = ImportTerms(
            code=code or _code_of(out), zone=zone, version=version, currency=currency,
            minor_units=minor_units, valid_from=_day(valid_from), limits=_limits(limit),
            share=share, vat_included=vat_included, legal_ref=legal_ref,
            sources=tuple(source or ()),
        )  # fmt: skip
        _take(file, out, terms, tariff_from_gazette, as_json=as_json)


def _take(
    file: Path,
    out: Path,
    terms: ImportTerms,
    importer: Callable[[bytes, ImportTerms], dict[str, Any]],
    *,
    as_json: bool,
) -> None:
    """Write the tariff file once kernel and oracle price its computed cases alike."""
    try:
        document = file.read_bytes()
    except OSError as error:
        raise ConfigError("command line", [f"{file}: cannot be read ({error.strerror})"]) from error
    found = with_first_cases(importer(document, terms))
    text = json.dumps(found, ensure_ascii=False, indent=2) + "\n"
    rating.prove(text.encode())
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        fault = f"--out {out}: cannot be written ({error.strerror})"
        raise ConfigError("command line", [fault]) from error
    _tell(found, out, as_json=as_json)


def _tell(found: dict[str, Any], out: Path, *, as_json: bool) -> None:
    lines = [{"id": line["id"], "kind": line["kind"]} for line in found["lines"]]
    answer = {
        "file": str(out), "code": found["code"], "version": found["version"],
        "valid_from": found["valid_from"], "lines": lines,
        "cases": [
            {key: case[key] for key in ("name", "lines", "total")} for case in found["test_cases"]
        ],
        "note": f"cases are computed, not published: {_CHECK}",
    }  # fmt: skip
    told = [f"{out}: {found['code']} version {found['version']}, from {found['valid_from']}"]
    told += [f"  {line['kind']:<9} {line['id']}" for line in lines]
    for case in answer["cases"]:
        told += [f"  {case['name']}: {case['total']} {found['currency']}"]
    told += [f"These totals are computed, not published: {_CHECK}."]
    say(answer, as_json=as_json, text="\n".join(told))


def _code_of(out: Path) -> str:
    """Return the name of the file up to its first point."""
    return out.name.split(".", maxsplit=1)[0]


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        fault = f"--valid-from {text}: is no day; write YYYY-MM-DD"
        raise ConfigError("command line", [fault]) from None


def _limits(texts: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise ConfigError("command line", [f"--limit {text}: write NAME=VALUE"])
        found[name] = value
    return found
