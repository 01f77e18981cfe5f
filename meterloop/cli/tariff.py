"""Verbs on tariff files: prove one, and price a usage file with it, every line shown."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from billing.rating.rules.shown import PricedUse, as_plain, priced
from billing.rating.rules.usage import pieces_of
from billing.tariffs import service as tariffs
from billing.tariffs.model import Tariff
from billing.tariffs.rules import read_usage
from meterloop.cli import tariff_change, tariff_diff, tariff_import
from meterloop.cli.answer import JsonFlag, failures_told, say
from meterloop.config import ConfigError

_MOST_OCTETS = 64_000_000

TariffNames = Annotated[
    list[str],
    typer.Option(
        "--tariff",
        help="A tariff file, or the code of a shipped one. Repeat for versions that follow.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    tariff = typer.Typer(no_args_is_help=True, help="Tariff files: prove, price, take, compare.")
    tariff.command("validate")(validate)
    tariff.command("price")(price)
    tariff_import.register(tariff)
    tariff_diff.register(tariff)
    tariff_change.register(tariff)
    app.add_typer(tariff, name="tariff")


def validate(
    files: Annotated[list[str], typer.Argument(help="Tariff files, or codes of shipped ones.")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Prove tariff files: shape, steps, hours, roundings, bound, and their own test cases."""
    with failures_told(as_json=as_json):
        console = Console(stderr=True)
        several = len(files) > 1 and console.is_terminal
        rows = track(files, "proving", console=console, transient=True) if several else files
        found = [_proven(*rating.prove(_document(name))) for name in rows]
        text = "\n".join(
            f"{each['code']} v{each['version']}: {each['lines']} lines, {each['cases']} cases "
            f"hold, {each['arithmetic']}, {each['digest'][:12]}"
            for each in found
        )
        say({"tariffs": found}, as_json=as_json, text=text)


def price(
    *,
    tariff: TariffNames,
    usage: Annotated[Path, typer.Option(help="A usage file (JSON): one account, one period.")],
    as_json: JsonFlag = False,
) -> None:
    """Price one account's period: every line, taxes, rounding, total, and how each came about."""
    with failures_told(as_json=as_json):
        proven = [rating.prove(_document(name)) for name in tariff]
        compiled = {id(each): arrays for each, arrays in proven}
        pieces = pieces_of([each for each, _ in proven], read_usage(_octets(usage)))
        found = [priced(compiled[id(each.tariff)], each.use, each.known_by) for each in pieces]
        say(as_plain(found), as_json=as_json, text=_as_text(found))


def _proven(tariff: Tariff, compiled: CompiledTariff) -> dict[str, Any]:
    return {
        "code": tariff.code,
        "version": tariff.version,
        "digest": compiled.digest,
        "currency": tariff.currency,
        "valid_from": tariff.valid_from.isoformat(),
        "lines": len(tariff.lines),
        "touperiods": len(tariff.touperiods),
        "cases": len(tariff.test_cases),
        "arithmetic": "wide integers" if compiled.wide else "64-bit integers",
    }


def _document(name: str) -> bytes:
    """Return the octets of a file, or of a shipped tariff."""
    if "/" not in name and not name.endswith(".json") and not Path(name).exists():
        return tariffs.shipped(name)
    return _octets(Path(name))


def _octets(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            found = stream.read(_MOST_OCTETS + 1)
    except OSError as error:
        fault = f"{path}: cannot be read ({error.strerror})"
        raise ConfigError("command line", [fault]) from error
    if len(found) > _MOST_OCTETS:
        raise ConfigError("command line", [f"{path}: is larger than {_MOST_OCTETS} octets"])
    return found


def _as_text(found: list[PricedUse]) -> str:
    plain = as_plain(found)
    lines = []
    for part in plain["parts"]:
        lines.append(
            f"{plain['tariff']} v{part['version']}  {part['start']} to {part['end']}  "
            f"{part['days']} days, {part['months']} months  ({part['quality']}, by "
            f"{part['known_by']})"
        )
        lines.extend(_row_text(row) for row in part["trace"])
    lines.append("")
    lines.extend(f"{'of it ' + code:48} {amount:>24}" for code, amount in plain["taxes"].items())
    lines.append(f"{'rounding':48} {plain['rounding']:>24}")
    lines.append(f"{'total ' + plain['currency']:48} {plain['total']:>24}")
    return "\n".join(lines)


def _row_text(row: dict[str, Any]) -> str:
    name = row["line"] + (f" step {row['step']}" if row.get("step") else "")
    name += "" if row["counts"] else " (subtotal)"
    how = [
        f"{row['quantity']:,} {row['unit']}".replace(",", " ") if row["unit"] != "micros" else ""
    ]
    how += [f"x {row['price']}"] if "price" in row else []
    how += [f"x {row['times']}"] if "times" in row else []
    how += [f"{row['percent']} % of {row['base']}"] if "percent" in row else []
    told = " ".join(part for part in how if part)
    return f"  {name:28} {told:>36} {row['amount']:>16}"
