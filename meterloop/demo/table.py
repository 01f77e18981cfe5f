"""The demo on a terminal: what runs, what it counted, and the story line by line."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from meterloop.demo.stage import Line, Log, Mark
from meterloop.supervisor import ChildStatus, State

_DOT = {
    State.READY: "[green]●[/]",
    State.STARTING: "[yellow]●[/]",
    State.DOWN: "[red]●[/]",
    State.FAILED: "[red]●[/]",
    State.ENDED: "[dim]●[/]",
}
_SIGN = {Mark.RUNNING: "[yellow]▶[/]", Mark.DONE: "[green]✔[/]", Mark.FAILED: "[red]✘[/]"}
_COUNTERS = 3
_STORY_LINES = 24


@dataclass(slots=True, kw_only=True)
class Screen:
    """What the table shows; `render` is asked four times a second."""

    title: str = "Meterloop demo"
    url: str = ""
    people: Sequence[tuple[str, str]] = ()
    log: Log = field(default_factory=Log)
    note: str = ""

    def render(self, rows: Sequence[ChildStatus]) -> RenderableType:
        """Return the whole screen."""
        parts: list[RenderableType] = [_processes(rows)]
        if self.people:
            who = " · ".join(f"[bold]{role}[/] {login}" for login, role in self.people)
            parts.append(Text.from_markup(f"who to be: {who}"))
        parts.append(_story(self.log.lines[-_STORY_LINES:]))
        if self.note:
            parts.append(Text.from_markup(self.note))
        head = f"{self.title} — {self.url}" if self.url else self.title
        return Panel(Group(*parts), title=head, subtitle="Ctrl-C ends", box=box.ROUNDED)


def plain(line: Line) -> str:
    """Return one line of the story for a place that is no terminal."""
    sign = {Mark.RUNNING: "...", Mark.DONE: "ok ", Mark.FAILED: "NO "}[line.mark]
    detail = f" [{line.detail}]" if line.detail else ""
    return (
        f"{sign} {line.track:<10} {line.code:<18} {line.text}{detail} ({line.wall_seconds:.1f} s)"
    )


def _processes(rows: Sequence[ChildStatus]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    for _ in range(5):
        table.add_column()
    for row in rows:
        counters = "  ".join(
            f"{key} {value}" for key, value in list(row.health.items())[:_COUNTERS]
        )
        again = f"[yellow]restarted {row.restarts}x[/]" if row.restarts else ""
        table.add_row(_DOT[row.state], row.name, f"{row.rss_bytes >> 20} MiB", counters, again)
    return table


def _story(lines: Sequence[Line]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=True)
    table.add_column("", width=1)
    table.add_column("story", ratio=1, overflow="fold")
    table.add_column("s", justify="right", width=6)
    table.add_column("page", overflow="fold")
    for line in lines:
        text = Text.from_markup(f"[dim]{line.track:<9}[/] {line.text}")
        if line.detail:
            text.append(
                f"  {line.detail[:110]}", style="red" if line.mark is Mark.FAILED else "dim"
            )
        took = f"{line.wall_seconds:.1f}" if line.mark is not Mark.RUNNING else ""
        table.add_row(Text.from_markup(_SIGN[line.mark]), text, took, line.link)
    return table
