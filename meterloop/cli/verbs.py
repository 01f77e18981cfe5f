"""
The verbs by name, and what is imported for one: its own module, when it is asked for.

A command line imports half the house before it can say that a word was mistyped. So the names
stand here with their first sentences; a test holds the sentences to those of the verbs.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb, or a group of verbs, is defined, and what the list of verbs says of it."""

    module: str
    """Name of a module of this package that has `register`."""
    words: str


VERBS = {
    "demo": Verb("play", "Run the demo town: meters, broker, database, cloud, billing and portal."),
    "up": Verb("serve", "Start everything an installation file names, keep it alive, end it on "
               "Ctrl-C."),
    "edge": Verb("serve", "Run one concentrator's agent: poll, keep, forward, obey."),
    "cloud": Verb("serve", "Run one process of the cloud on a running database and broker."),
    "billing": Verb("serve", "Run balances, crossings and collections on a running database and "
                    "broker."),
    "portal": Verb("serve", "Run the pages and the API on a running database and broker."),
    "simulate": Verb("serve", "Run simulated meters on real sockets, with a truth file for the "
                     "audit."),
    "doctor": Verb("care", "Look at disk, clock, database, broker, meters; say how to mend what "
                   "is wrong."),
    "migrate": Verb("care", "Bring the database to the newest schema and say what keeps its "
                    "readings."),
    "audit": Verb("care", "Count the violations of every invariant, in the database and against a "
                  "truth file."),
    "read": Verb("ask", "Read one meter now and print its registers."),
    "users": Verb("ask", "Make a person who can sign in, with a password that is shown once."),
    "signin": Verb("people", "Sign in here, so that what you do is recorded as yours; it ends by "
                   "rest, as at the pages."),
    "signout": Verb("people", "End every session that was opened here."),
    "whoami": Verb("people", "Show who acts here: the last who signed in, and what the roles "
                   "allow."),
    "usage": Verb("usage", "What a usage point used (usage USAGE_POINT), its roll-ups, and why "
                  "they changed."),
    "export": Verb("usage", "Write usage to a file: CSV, Parquet, or IEC 61968-9 MeterReadings as "
                   "XML or JSON."),
    "probe": Verb("field", "Find out who is at an address, how to read it, and why not."),
    "record": Verb("field", "Stand between a client and a meter and write what they say, secrets "
                   "blanked."),
    "replay": Verb("field", "Answer a client as the meter on the tape answered."),
    "control": Verb("ask", "Halt all cutting; order one meter."),
    "quarantine": Verb("quarantine", "What could not be believed, with its octets."),
    "readings": Verb("readings", "Stored readings: packed days, old months."),
    "dlms": Verb("decode", "Look into DLMS/COSEM."),
    "cycle": Verb("cycle", "Reading cycles: plan, read, review, close."),
    "ledger": Verb("ledger", "Prove the ledger, or write it out."),
    "bill": Verb("bill", "Bills: run, show, decide, correct, replay."),
    "customer": Verb("customer", "Subscribers, companies, discounts."),
    "prepaid": Verb("prepaid", "Balances paid ahead: sweep, tell, check."),
    "payments": Verb("payments", "Money in: channels, suspense, limits, books."),
    "plan": Verb("plan", "Debts in instalments."),
    "deposit": Verb("deposit", "Deposits that customers leave."),
    "tariff": Verb("tariff", "Tariff files: prove, price, take, compare."),
    "upkeep": Verb("upkeep", "Settings, firmware and keys from afar."),
    "assets": Verb("assets", "What hangs where: CT/PT ratios."),
    "vee": Verb("vee", "Check, estimate, queue, edit values."),
}  # fmt: skip


def loaded(module: str) -> dict[str, Any]:
    """Return the commands that a module of this package registers, by name."""
    verbs = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    import_module(f"meterloop.cli.{module}").register(verbs)
    return dict(typer.main.get_group(verbs).commands)


class LazyVerbs(TyperGroup):
    """The group of all verbs: lists them by `VERBS`, imports the one that is asked for."""

    def __init__(self, **options: Any) -> None:
        """Know every verb by name and sentence."""
        super().__init__(**options)
        self.commands.update({n: TyperCommand(n, help=v.words) for n, v in VERBS.items()})
        self._modules: set[str] = set()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return the verb itself, or None where there is no such verb."""
        verb = VERBS.get(cmd_name)
        if verb is not None and verb.module not in self._modules:
            self._modules.add(verb.module)
            self.commands.update(loaded(verb.module))
        return self.commands.get(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of verbs from their sentences, importing none."""
        shown = TyperGroup(
            name=self.name, help=self.help, params=self.params, commands=dict(self.commands),
            rich_markup_mode=self.rich_markup_mode,
        )  # fmt: skip
        shown.format_help(ctx, formatter)
