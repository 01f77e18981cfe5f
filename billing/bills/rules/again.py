"""A pinned use with another register in it: what a late reading would have made of a bill."""

import json
from datetime import date
from typing import Any

from billing.bills.rules.pinned import canonical_usage, kwh


def with_register(usage: str, day: date, wh: int) -> str | None:
    """
    Return a pinned use with `wh` as the register of the midnight that begins `day`.

    The same text where the use has no register of that midnight: then it does not rest on it. None
    where it rests on hours or on parts, which one register does not tell.
    """
    stated: dict[str, Any] = json.loads(usage)
    readings = stated.get("readings")
    if readings is None:
        return None
    at = day.isoformat()
    name = next(iter(readings[0]["kwh"]))
    return canonical_usage(
        {
            **stated,
            "readings": [
                {**each, "kwh": {name: kwh(wh)}} if each["at"] == at else each for each in readings
            ],
        }
    )


def is_estimated(usage: str) -> bool:
    """Tell whether a use states energy that nobody read."""
    return bool(json.loads(usage).get("quality") == "estimated")
