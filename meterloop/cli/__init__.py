"""The command line. Every verb takes `--json` and exits with non-zero on failure."""

import typer

from meterloop.cli.verbs import LazyVerbs

app = typer.Typer(
    name="meterloop",
    cls=LazyVerbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def house() -> None:
    """Closes the loop between an electricity meter and money."""


def main() -> None:
    """Run the command line."""
    app()
