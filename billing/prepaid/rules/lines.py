"""What an account has left, and which lines its balance went through."""

from collections.abc import Sequence

from billing.money import IntArray
from billing.prepaid.model import Columns, Passed, States


def available(
    states: States | Columns, fee: IntArray, allowance: IntArray | None = None
) -> IntArray:
    """
    Return what each account has left at a cumulative fee.

    `allowance` is what an account may use beyond its money (friendly hours, emergency credit), in
    micros; none given is nothing allowed. *Shape*: as `states`.
    """
    left: IntArray = states.posted - (fee - states.drawn)
    return left if allowance is None else left + allowance


def lines_passed(states: States, left: IntArray, *, reminder: IntArray, cut: IntArray) -> Passed:
    """
    Return which lines each balance went through since the states were written.

    Down through a line counts once; the line is armed again only when the balance is back at or
    above it, so a top-up that lifts the balance makes the next fall a new crossing (F1, F2).
    """
    below_reminder, below_zero, below_cut = left < reminder, left < 0, left < cut
    return Passed(
        reminder=below_reminder & ~states.below_reminder,
        zero=below_zero & ~states.below_zero,
        cut=below_cut & ~states.below_cut,
        restored=~below_zero & states.below_zero,
        below_reminder=below_reminder,
        below_zero=below_zero,
        below_cut=below_cut,
    )


def steps_reached(before: int, after: int) -> Sequence[int]:
    """Return the ladder steps reached on the way from one tier to a later one."""
    return range(before + 1, after + 1)
