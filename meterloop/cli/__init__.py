"""The command line. Every verb takes `--json` and exits with non-zero on failure."""

import typer

from meterloop.cli import ask, care, decode, field, play, serve, upkeep

app = typer.Typer(
    name="meterloop",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Closes the loop between an electricity meter and money.",
)
play.register(app)
serve.register(app)
care.register(app)
ask.register(app)
decode.register(app)
field.register(app)
upkeep.register(app)


def main() -> None:
    """Run the command line."""
    app()
