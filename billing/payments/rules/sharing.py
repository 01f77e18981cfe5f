"""How one payment for a company is shared out over its accounts, to the last micro."""

from collections.abc import Sequence


def shares(amount_micros: int, debts_micros: Sequence[int]) -> list[int]:
    """
    Return each account's share: debts are paid in order, what is left goes to the first account.

    `debts_micros` are what each account lacks, 0 where it lacks nothing. The shares add up to the
    amount, and none is negative.
    """
    left, found = amount_micros, []
    for debt in debts_micros:
        share = min(max(0, debt), left)
        found.append(share)
        left -= share
    found[0] += left
    return found
