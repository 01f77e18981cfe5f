"""The verb that shows what two versions of a tariff differ in, and what that does to accounts."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from billing.money import parse_micros, to_text
from billing.rating.model import PeriodUse
from billing.rating.rules import kernel
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.impact import Band, Impact, impact_of, use_at_any_time
from billing.tariffs.model import Tariff
from billing.tariffs.model.usage import UsageFile
from billing.tariffs.rules import read_tariff, read_usage
from billing.tariffs.rules.diff import About, Change, StepChange, changes_of, step_changes
from meterloop.cli.answer import JsonFlag, failures_told, say
from meterloop.config import ConfigError
from protocols.errors import RefusedError

_BATCH = 2_000
_BAR = 24
_WIDTH = 110
_FULL, _HALF = "█", "▌"

TariffFile = Annotated[Path, typer.Argument(help="A tariff file.")]
UsageFiles = Annotated[
    list[Path] | None,
    typer.Option(help="A usage file (.json), or many (.jsonl, one a line). Repeatable."),
]
Top = Annotated[int, typer.Option(min=0, max=1000, help="How many gainers and losers are named.")]


def register(tariff: typer.Typer) -> None:
    """Add the verb to those of tariffs."""
    tariff.command("diff")(diff)


def diff(
    before: TariffFile,
    after: TariffFile,
    *,
    usage: UsageFiles = None,
    top: Top = 10,
    as_json: JsonFlag = False,
) -> None:
    """Compare two tariff files; with --usage, price the same use by both and tell who pays more."""
    with failures_told(as_json=as_json):
        raw = [_octets(file) for file in (before, after)]
        old, new = (read_tariff(document) for document in raw)
        if usage and (old.currency, old.minor_units) != (new.currency, new.minor_units):
            fault = f"{before} is in {old.currency}, {after} in {new.currency}: leave out --usage"
            raise ConfigError("command line", [fault])
        files = [json.loads(document) for document in raw]
        changes, steps = changes_of(*files), step_changes(*files)
        impact = _impact(old, new, usage, top=top) if usage else None
        if as_json:
            say(_as_plain(old, new, changes, steps, impact), as_json=True)
        else:
            _show(old, new, changes, steps, impact)


def _impact(old: Tariff, new: Tariff, files: Sequence[Path], *, top: int) -> Impact:
    """Return what the same use costs by both, account by account."""
    named = [pair for file in files for pair in _usages(file)]
    numbers: dict[str, int] = {}
    rows = np.array(
        [numbers.setdefault(usage.account or place, len(numbers)) for place, usage in named],
        dtype=np.int64,
    )
    sums = np.zeros((2, len(numbers)), dtype=np.int64)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("pricing by both", total=2 * len(named))
        for tariff, mine in zip((old, new), sums, strict=True):
            compiled = compile_tariff(tariff, "")
            for start in range(0, len(named), _BATCH):
                uses = [_use(tariff, *each) for each in named[start : start + _BATCH]]
                totals = kernel.price_uses(compiled, uses).total
                np.add.at(mine, rows[start : start + _BATCH], totals)
                progress.advance(task, len(uses))
    return impact_of(list(numbers), sums[0], sums[1], top=top)


def _use(tariff: Tariff, place: str, usage: UsageFile) -> PeriodUse:
    with _naming(f"{place} by {tariff.code} version {tariff.version}"):
        return use_at_any_time(tariff, usage)


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


def _as_plain(
    old: Tariff, new: Tariff, changes: list[Change], steps: list[StepChange], impact: Impact | None
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "before": _head(old), "after": _head(new),
        "changes": [asdict(change) for change in changes],
        "steps": [{**asdict(step), "basis_points": step.basis_points} for step in steps],
    }  # fmt: skip
    if impact is not None:
        decimals = old.minor_units
        answer["impact"] = _told_money(asdict(impact), decimals)
        answer["impact"]["change"] = to_text(impact.change_micros, decimals)
        answer["impact"]["currency"] = old.currency
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


def _show(
    old: Tariff, new: Tariff, changes: list[Change], steps: list[StepChange], impact: Impact | None
) -> None:
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH)
    console.print(
        f"{old.code} version {old.version} (from {old.valid_from})  →  "
        f"{new.code} version {new.version} (from {new.valid_from})",
        markup=False, highlight=False,
    )  # fmt: skip
    if not changes:
        console.print("The files say the same.")
        return
    console.print(_step_table(steps, old, new))
    console.print(_change_table(changes))
    if impact is not None:
        for part in _impact_parts(impact, old):
            console.print(part)


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
