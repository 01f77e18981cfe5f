"""Who reads what: a list is cut into runs of neighbours, each as long as its reader's share."""

from collections.abc import Sequence

from cloud.cycles.model import Reader, ReaderId


def share(points: int, readers: Sequence[Reader], days: int) -> list[ReaderId | None]:
    """
    Return the reader of each of `points` places in walking order; None where staff does not reach.

    Everybody gets one run of neighbours. Runs are in proportion to what a reader manages in `days`
    and never longer; who has the larger remainder gets the odd point, so the shares add up.
    """
    able = [(reader.id, reader.daily * days) for reader in readers if reader.on_duty]
    able = [(id_, most) for id_, most in able if most > 0]
    total = sum(most for _, most in able)
    if not total:
        return [None] * points
    reached = min(points, total)
    parts = [reached * most // total for _, most in able]
    odd = sorted(
        range(len(able)), key=lambda n: (-(reached * able[n][1] % total), n)
    )[: reached - sum(parts)]  # fmt: skip
    for n in odd:
        parts[n] += 1
    shared: list[ReaderId | None] = []
    for (id_, _), part in zip(able, parts, strict=True):
        shared += [id_] * part
    return shared + [None] * (points - reached)
