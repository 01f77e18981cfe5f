"""The command line. Every verb takes `--json` and exits with non-zero on failure."""

import typer

from meterloop.cli import (
    ask,
    bill,
    care,
    customer,
    cycle,
    decode,
    deposit,
    field,
    ledger,
    payments,
    plan,
    play,
    prepaid,
    quarantine,
    readings,
    serve,
    tariff,
    tariff_change,
    tariff_diff,
    tariff_import,
    upkeep,
    usage,
    vee,
)

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
usage.register(app)
quarantine.register(app)
readings.register(app)
decode.register(app)
cycle.register(app)
field.register(app)
ledger.register(app)
bill.register(app)
customer.register(app)
prepaid.register(app)
payments.register(app)
plan.register(app)
deposit.register(app)
tariffs = typer.Typer(no_args_is_help=True, help="Tariff files: prove, price, take, compare.")
tariff.register(tariffs)
tariff_import.register(tariffs)
tariff_diff.register(tariffs)
tariff_change.register(tariffs)
app.add_typer(tariffs, name="tariff")
upkeep.register(app)
vee.register(app)


def main() -> None:
    """Run the command line."""
    app()
