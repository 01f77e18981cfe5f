"""Verbs that check and estimate interval series in a file, with every finding's reason."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cloud.store.clock import Clock
from cloud.vee import service as vee
from cloud.vee.rules.checks import CHECKS, check_series
from cloud.vee.rules.estimate import Estimate, Estimates, estimate_series, judged
from cloud.vee.rules.findings import Finding, Findings
from cloud.vee.rules.grid import State
from cloud.vee.rules.rule_sets import RuleSet, read_rule_set, rule_set_for
from meterloop.cli import vee_queue
from meterloop.cli.answer import JsonFlag, failures_told, say
from meterloop.cli.vee_picture import picture, table_of_estimates, table_of_findings
from meterloop.config import ConfigError
from meterloop.series import Loaded, Options, load
from protocols.timeline import from_ms, to_ms

_MOST_LISTED = 10_000

Source = Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet or NEM12.")]
Registers = Annotated[
    Path | None, typer.Option(help="Registers of the same series (CSV or Parquet).")
]
Zone = Annotated[str, typer.Option(help="Zone of local days, such as Europe/Berlin.")]
StampsAt = Annotated[
    str, typer.Option(help="Fixed offset of stamps that carry none, such as +10:00.")
]
CustomerClass = Annotated[str, typer.Option("--class", help="Customer class: household, large.")]
RuleFile = Annotated[Path | None, typer.Option("--rules", help="A rule set of your own (JSON).")]
Kilowatt = Annotated[int, typer.Option(help="Contract power of every series; 0 is unknown.")]
Now = Annotated[
    datetime | None, typer.Option(help="The moment from which the future counts (default: now).")
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(no_args_is_help=True, help="Check, estimate, queue, edit values.")
    group.command("check")(check)
    group.command("estimate")(estimate)
    group.command("rules")(show_rules)
    vee_queue.register(group)
    app.add_typer(group, name="vee")


def check(
    file: Source,
    *,
    registers: Registers = None,
    zone: Zone = "UTC",
    stamps_at: StampsAt = "",
    customer_class: CustomerClass = "household",
    rules: RuleFile = None,
    capacity_kw: Kilowatt = 0,
    now: Now = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at every series with every check; findings carry rule, parameters and reason."""
    with failures_told(as_json=as_json):
        options = _options(zone, stamps_at, capacity_kw)
        loaded = _loaded(file, registers, options)
        moment = to_ms(now.replace(tzinfo=now.tzinfo or UTC) if now else Clock().now())
        with _progress(len(loaded) * len(CHECKS), "checking") as step:
            found = [
                (each, *_checked(each, _rules(rules, customer_class, each), moment, step))
                for each in loaded
            ]
        counted = sum(len(findings) for _, _, findings in found)
        say(
            {
                "file": file.name,
                "series": sum(len(each.names) for each in loaded),
                "findings_count": counted,
                "groups": [_group_plain(*each) for each in found],
            },
            as_json=as_json,
            text=f"findings: {counted}, series: {sum(len(each.names) for each in loaded)}",
        )
        if not as_json:
            for each, _, findings in found:
                picture(each, findings=findings)
                table_of_findings(each, findings)


def estimate(
    file: Source,
    *,
    registers: Registers = None,
    zone: Zone = "UTC",
    stamps_at: StampsAt = "",
    customer_class: CustomerClass = "household",
    rules: RuleFile = None,
    capacity_kw: Kilowatt = 0,
    write: Annotated[
        Path | None, typer.Option(help="Write every slot with its quality as CSV.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fill what is missing or doubted; estimates carry method, reason and band."""
    with failures_told(as_json=as_json):
        options = _options(zone, stamps_at, capacity_kw)
        loaded = _loaded(file, registers, options)
        done = []
        steps = len(loaded) * len(CHECKS) + sum(len(each.names) for each in loaded)
        with _progress(steps, "estimating") as step:
            for each in loaded:
                told, findings = _checked(
                    each, _rules(rules, customer_class, each), each.seen.grid.frame.end_ms, step
                )
                sound = judged(each.seen, findings)
                done.append((each, told, estimate_series(sound, told, after=lambda _: step())))
        if write is not None:
            _written(write, done)
        filled = [one for _, _, made in done for one in made.made]
        kept = [one for one in filled if one.method]
        say(
            {
                "file": file.name,
                "series": sum(len(each.names) for each in loaded),
                "estimated": len(kept),
                "refused": len(filled) - len(kept),
                "estimates": [
                    _estimate_plain(each, told, made, one)
                    for each, told, made in done
                    for one in made.made[:_MOST_LISTED]
                ],
            },
            as_json=as_json,
            text=f"stretches estimated: {len(kept)}, refused: {len(filled) - len(kept)}",
        )
        if not as_json:
            for each, _, made in done:
                picture(each, made=made)
                table_of_estimates(each, made)


def show_rules(
    *,
    customer_class: CustomerClass = "household",
    as_json: JsonFlag = False,
) -> None:
    """Show the rule set of a customer class: each check, its parameters and their sources."""
    with failures_told(as_json=as_json):
        told = rule_set_for(vee.shipped_rule_sets(), customer_class, Clock().now().date())
        checks: dict[str, dict[str, Any]] = {
            code.value: {
                "severity": each.severity.value,
                "parameters": asdict(each.parameters),
                "sources": list(each.sources),
            }
            for code, each in told.checks.items()
        }
        lines = [
            f"{code:24} {each['severity']:9} "
            + ", ".join(f"{name} {value}" for name, value in each["parameters"].items())
            for code, each in checks.items()
        ]
        answer = {"rule_set": told.name, "version": told.version, "checks": checks,
                  "estimate": asdict(told.estimate)}  # fmt: skip
        say(answer, as_json=as_json, text="\n".join(lines))


def _checked(each: Loaded, told: RuleSet, now_ms: int, step: "_Step") -> tuple[RuleSet, Findings]:
    return told, check_series(each.seen, told, now_ms=now_ms, after=lambda _: step())


def _options(zone: str, stamps_at: str, capacity_kw: int) -> Options:
    try:
        where = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        fault = f"--zone {zone!r} is not known; use a name such as Europe/Berlin"
        raise ConfigError("command line", [fault]) from error
    offset = None
    if stamps_at:
        found = re.fullmatch(r"([+-])(\d{2}):(\d{2})", stamps_at)
        if found is None or int(found[2]) > 14 or int(found[3]) > 59:
            raise ConfigError("command line", [f"--stamps-at {stamps_at!r}: write +10:00"])
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        offset = -offset if found[1] == "-" else offset
    return Options(zone=where, stamps_at=offset, capacity_w=capacity_kw * 1000)


def _loaded(file: Path, registers: Path | None, options: Options) -> list[Loaded]:
    return load(_octets(file), _octets(registers) if registers else None, options)


def _octets(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fault = f"{path}: cannot be read ({error.strerror})"
        raise ConfigError("command line", [fault]) from error


def _rules(file: Path | None, customer_class: str, each: Loaded) -> RuleSet:
    """Return the rules of the class on the first day of the series, or those of a file."""
    if file is None:
        return rule_set_for(vee.shipped_rule_sets(), customer_class, each.seen.grid.frame.first_day)
    octets = _octets(file)
    base = vee.shipped_rule_sets()[0] if b'"rests_on"' in octets else None
    return read_rule_set(octets, base)


_Step = Any


@contextmanager
def _progress(total: int, words: str) -> Iterator[_Step]:
    """Show how far long work is, on a terminal alone."""
    console = Console(stderr=True)
    columns = (TextColumn(words), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task(words, total=total)
        yield lambda: shown.advance(task)


def _group_plain(each: Loaded, told: RuleSet, findings: Findings) -> dict[str, Any]:
    frame = each.seen.grid.frame
    listed = findings.listed()
    return {
        "series": list(each.names),
        "interval_seconds": frame.step_s,
        "from": _iso(frame.start_ms),
        "to": _iso(frame.end_ms),
        "zone": frame.zone,
        "rule_set": f"{told.name}.v{told.version}",
        "days": _days(each),
        "counts": {
            code.value: len(hits) for code, (_, _, hits) in findings.by_code.items() if len(hits)
        },
        "findings": [_finding_plain(each, told, one) for one in listed[:_MOST_LISTED]],
        "not_listed": max(0, len(listed) - _MOST_LISTED),
    }


def _days(each: Loaded) -> list[dict[str, Any]]:
    """Return the local days on which the clock changed: those of other than the usual length."""
    frame = each.seen.grid.frame
    expected = frame.expected().tolist()
    return [
        {"day": (frame.first_day + timedelta(days=n)).isoformat(), "slots": slots}
        for n, slots in enumerate(expected[:-1])
        if slots != frame.per_day and n
    ]


def _finding_plain(each: Loaded, told: RuleSet, one: Finding) -> dict[str, Any]:
    rule = told.checks[one.code]
    return {
        "code": one.code.value,
        "severity": one.severity.value,
        "series": each.names[one.series],
        "start": _iso(one.start_ms),
        "end": _iso(one.end_ms),
        "value": one.value,
        "limit": one.limit,
        "unit": one.unit,
        "parameters": asdict(rule.parameters),
        "sources": list(rule.sources),
    }


def _estimate_plain(each: Loaded, told: RuleSet, made: Estimates, one: Estimate) -> dict[str, Any]:
    frame = each.seen.grid.frame
    slots = np.array([one.start_ms, one.end_ms])
    first, end = (int(n) for n in frame.slot_of(slots)[0])
    return {
        **asdict(one),
        "series": each.names[one.series],
        "start_ms": one.start_ms,
        "start": _iso(one.start_ms),
        "end": _iso(one.end_ms),
        "wh": made.grid.wh[one.series, first:end].tolist() if one.method else [],
        "low_wh": made.low[one.series, first:end].tolist() if one.method else [],
        "high_wh": made.high[one.series, first:end].tolist() if one.method else [],
        "band_permille": told.estimate.band_permille,
    }


def _written(path: Path, done: list[tuple[Loaded, RuleSet, Estimates]]) -> None:
    """Write every slot that has a value: series, start, wh, quality, and the band of estimates."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["series", "start", "seconds", "wh", "quality", "low_wh", "high_wh"])
    for each, _, made in done:
        frame = each.seen.grid.frame
        row, slot = np.nonzero(made.grid.present)
        columns = (made.grid.wh, made.grid.state, made.low, made.high)
        values = [column[row, slot].tolist() for column in columns]
        starts = (frame.start_ms + slot * frame.step_s * 1000).tolist()
        for series, start, wh, state, low, high in zip(row.tolist(), starts, *values, strict=True):
            word = State(state).name.lower()
            rows.writerow([each.names[series], _iso(start), frame.step_s, wh, word, low, high])
    try:
        path.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        fault = f"--write {path}: cannot be written ({error.strerror})"
        raise ConfigError("command line", [fault]) from error


def _iso(at_ms: int) -> str:
    return from_ms(at_ms).isoformat().replace("+00:00", "Z")
