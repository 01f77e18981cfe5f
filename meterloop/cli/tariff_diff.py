"""The verb that shows what two versions of a tariff differ in, and what that does to accounts."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from billing.money import parse_micros, to_text
from billing.rating.model import PeriodUse
from billing.rating.rules.impact import Band, Impact, use_at_any_time
from billing.rating.service.accounts import Accounts
from billing.rating.service.impact import price_by_both
from billing.tariffs.model import Tariff
from billing.tariffs.model.usage import UsageFile
from billing.tariffs.rules import read_tariff, read_usage
from billing.tariffs.rules.diff import About, Change, StepChange, changes_of, step_changes
from cloud.store.db import Database
from meterloop.cli.answer import JsonFlag, failures_told, say
from meterloop.config import ConfigError
from protocols.errors import RefusedError

_BAR = 24
_WIDTH = 110
_FULL, _HALF = "█", "▌"

TariffFile = Annotated[Path, typer.Argument(help="A tariff file.")]
UsageFiles = Annotated[
    list[Path] | None,
    typer.Option(help="A usage file (.json), or many (.jsonl, one a line). Repeatable."),
]
Top = Annotated[int, typer.Option(min=0, max=1000, help="How many gainers and losers are named.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All that is told of two tariff files."""

    old: Tariff
    new: Tariff
    changes: Sequence[Change]
    steps: Sequence[StepChange]
    impact: Impact | None
    unpriced: Mapping[str, int]
    """Accounts that could not be priced by both, by the reason's code."""


def register(tariff: typer.Typer) -> None:
    """Add the verb to those of tariffs."""
    tariff.command("diff")(diff)


def diff(
    before: TariffFile,
    after: TariffFile,
    *,
    usage: UsageFiles = None,
    accounts: Annotated[
        str, typer.Option(help="Database (DSN) whose accounts on the first tariff are priced.")
    ] = "",
    first: Annotated[str, typer.Option("--from", help="First day of --accounts.")] = "",
    until: Annotated[str, typer.Option("--until", help="Day after the last of --accounts.")] = "",
    top: Top = 10,
    as_json: JsonFlag = False,
) -> None:
    """
    Compare two tariff files, and price the same use by both to tell who pays more.

    The use comes from --usage, or from the registers of the --accounts that were on the first
    tariff's code in all days from --from until --until.
    """
    with failures_told(as_json=as_json):
        raw = [_octets(file) for file in (before, after)]
        old, new = (read_tariff(document) for document in raw)
        if usage and accounts:
            raise ConfigError("command line", ["give --usage or --accounts, one of them"])
        priced = bool(usage or accounts)
        if priced and (old.currency, old.minor_units) != (new.currency, new.minor_units):
            fault = (
                f"{before} is in {old.currency}, {after} in {new.currency}: "
                "leave out --usage and --accounts"
            )
            raise ConfigError("command line", [fault])
        files = [json.loads(document) for document in raw]
        changes, steps = changes_of(*files), step_changes(*files)
        impact, unpriced = None, Counter[str]()
        if accounts:
            days = _day(first, "--from"), _day(until, "--until")
            with Database(accounts, application="meterloop-cli", size=1) as db:
                them = _accounts(db, (old, new), days)
                impact, unpriced = _impact(old, new, them.uses(), top=top), them.unpriced
        elif usage:
            impact = _impact(old, new, _from_files(old, new, usage), top=top)
        found = Difference(
            old=old, new=new, changes=changes, steps=steps, impact=impact, unpriced=unpriced
        )
        if as_json:
            say(_as_plain(found), as_json=True)
        else:
            _show(found)


def _accounts(db: Database, both: tuple[Tariff, Tariff], days: tuple[date, date]) -> Accounts:
    try:
        return Accounts(db=db, tariffs=both, first=days[0], until=days[1])
    except RefusedError as error:
        raise ConfigError("command line", [f"{error.message}: use --usage"]) from error


def _impact(
    old: Tariff, new: Tariff, uses: Iterator[tuple[str, PeriodUse, PeriodUse]], *, top: int
) -> Impact:
    """Return what the same use costs by both, account by account, with a bar meanwhile."""
    with Progress(
        TextColumn("{task.description}"), SpinnerColumn(), TextColumn("{task.completed} periods"),
        TimeElapsedColumn(), console=Console(stderr=True), transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("pricing by both", total=None)
        return price_by_both(
            old, new, uses, top=top, told=lambda count: progress.advance(task, count)
        )


def _from_files(
    old: Tariff, new: Tariff, files: Sequence[Path]
) -> Iterator[tuple[str, PeriodUse, PeriodUse]]:
    for file in files:
        for place, usage in _usages(file):
            yield usage.account or place, _use(old, place, usage), _use(new, place, usage)


def _use(tariff: Tariff, place: str, usage: UsageFile) -> PeriodUse:
    with _naming(f"{place} by {tariff.code} version {tariff.version}"):
        return use_at_any_time(tariff, usage)


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        fault = f"{option} {text or 'is not said'}: with --accounts, write a day as YYYY-MM-DD"
        raise ConfigError("command line", [fault]) from None


def _usages(file: Path) -> Iterator[tuple[str, UsageFile]]:
    """Yield each use with the place it was read at."""
    document = _octets(file)
    if file.suffix != ".jsonl":
        with _naming(str(file)):
            yield file.stem, read_usage(document)
        return
    for number, line in enumerate(document.splitlines(), start=1):
        if line.strip():
            with _naming(f"{file}:{number}"):
                found = read_usage(line)
            yield f"{file.name}:{number}", found


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Say in a refusal which file it is about."""
    try:
        yield
    except RefusedError as error:
        raise RefusedError(error.refusal, f"{place}: {error.message}", fix=error.fix) from error


def _octets(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError("command line", [f"{file}: cannot be read ({error.strerror})"]) from error


def _as_plain(found: Difference) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "before": _head(found.old), "after": _head(found.new),
        "changes": [asdict(change) for change in found.changes],
        "steps": [{**asdict(step), "basis_points": step.basis_points} for step in found.steps],
    }  # fmt: skip
    if found.impact is not None:
        decimals = found.old.minor_units
        answer["impact"] = {
            **_told_money(asdict(found.impact), decimals),
            "change": to_text(found.impact.change_micros, decimals),
            "currency": found.old.currency, "unpriced": dict(found.unpriced),
        }  # fmt: skip
    return answer


def _told_money(found: Any, decimals: int) -> Any:
    """Return the same with every `*_micros` as decimal text under its name without the unit."""
    if isinstance(found, dict):
        return {
            key.removesuffix("_micros"): to_text(value, decimals)
            if key.endswith("_micros") else _told_money(value, decimals)
            for key, value in found.items()
        }  # fmt: skip
    if isinstance(found, list | tuple):
        return [_told_money(each, decimals) for each in found]
    return found


def _head(tariff: Tariff) -> dict[str, Any]:
    return {
        "code": tariff.code, "version": tariff.version, "currency": tariff.currency,
        "valid_from": str(tariff.valid_from),
        "valid_to": str(tariff.valid_to) if tariff.valid_to else None,
    }  # fmt: skip


def _show(found: Difference) -> None:
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH)
    old, new = found.old, found.new
    console.print(
        f"{old.code} version {old.version} (from {old.valid_from})  →  "
        f"{new.code} version {new.version} (from {new.valid_from})",
        markup=False, highlight=False,
    )  # fmt: skip
    if not found.changes:
        console.print("The files say the same.")
        return
    console.print(_step_table(found.steps, old, new))
    console.print(_change_table(found.changes))
    if found.impact is not None:
        for part in _impact_parts(found.impact, old):
            console.print(part)
    for reason, count in found.unpriced.items():
        console.print(Text(f"{count} accounts not priced: {reason}", "yellow"))


def _step_table(steps: Sequence[StepChange], old: Tariff, new: Tariff) -> Table:
    currencies = " → ".join(dict.fromkeys([old.currency, new.currency]))
    table = Table(box=box.SIMPLE_HEAD, title=f"Prices ({currencies})", title_justify="left")
    for name in ("line", "from", "to", "before", "after", "change"):
        table.add_column(name, justify="left" if name == "line" else "right", no_wrap=True)
    table.add_column("before ░  after █", no_wrap=True)
    prices = [price for step in steps for price in (step.before, step.after) if price is not None]
    largest = max((abs(parse_micros(price)) for price in prices), default=0)
    last = ""
    for step in steps:
        bar = Text(_bar(step.before, largest, "░"), "dim")
        bar.append("\n").append(_bar(step.after, largest, _FULL), _colour(step))
        table.add_row(
            Text("" if step.line == last else step.line), step.over, step.upto or "…",
            step.before or "—", step.after or "—", Text(_percent(step), _colour(step)), bar,
        )  # fmt: skip
        last = step.line
    return table


def _bar(price: str | None, largest: int, sign: str) -> str:
    if price is None or not largest:
        return ""
    return sign * max(1, abs(parse_micros(price)) * _BAR // largest) if parse_micros(price) else ""


def _colour(step: StepChange) -> str:
    old = parse_micros(step.before or "0")
    new = parse_micros(step.after or "0")
    return "red" if new > old else "green" if new < old else "dim"


def _percent(step: StepChange) -> str:
    points = step.basis_points
    if points is None:
        return "new" if step.before is None or step.before == "0" else "gone"
    return "=" if step.before == step.after else _hundredths(points)


def _hundredths(points: int) -> str:
    sign = "+" if points > 0 else "−" if points < 0 else ""
    return f"{sign}{abs(points) // 100}.{abs(points) % 100:02} %"


def _change_table(changes: Sequence[Change]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="All that changed", title_justify="left")
    for name in ("field", "before", "after"):
        table.add_column(name, overflow="fold")
    for change in sorted(changes, key=lambda each: each.about is About.PAPER):
        style = "dim" if change.about is About.PAPER else ""
        sides = (change.place, change.before or "—", change.after or "—")
        table.add_row(*(Text(side, style) for side in sides))
    return table


def _impact_parts(impact: Impact, tariff: Tariff) -> Iterator[RenderableType]:
    def money(micros: int) -> str:
        return to_text(micros, tariff.minor_units)

    change = impact.change_micros
    yield Text(
        f"{impact.accounts} accounts: {money(impact.before_micros)} → "
        f"{money(impact.after_micros)} {tariff.currency} ({'+' if change > 0 else ''}"
        f"{money(change)}); {impact.up} pay more, {impact.down} less, {impact.same} the same.\n"
        "The same use priced by both, as though each were valid in every period."
    )
    table = Table(box=box.SIMPLE_HEAD, title="Distribution", title_justify="left")
    table.add_column("bill changes by", no_wrap=True)
    table.add_column("accounts", justify="right")
    table.add_column(tariff.currency, justify="right")
    table.add_column("", no_wrap=True)
    most = max(band.accounts for band in impact.bands) or 1
    for band in impact.bands:
        size = band.accounts * 2 * _BAR // most
        bar = _FULL * (size // 2) + _HALF * (size % 2)
        table.add_row(_range(band), str(band.accounts), money(band.change_micros), bar)
    yield table
    for title, movers in (("Pay less", impact.gainers), ("Pay more", impact.losers)):
        if movers:
            table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
            table.add_column("account")
            for name in ("before", "after", "change"):
                table.add_column(name, justify="right")
            for each in movers:
                sides = (each.before_micros, each.after_micros, each.change_micros)
                table.add_row(Text(each.account), *(money(side) for side in sides))
            yield table


def _range(band: Band) -> str:
    if band.over == band.upto:
        return "nothing"
    if band.over is None:
        return f"{_hundredths(band.upto or 0)} and less"
    if band.upto is None:
        return f"more than {_hundredths(band.over)}"
    return f"{_hundredths(band.over)} to {_hundredths(band.upto)}"
