"""
Figures of the money part: the pricing kernel beside what could be faster and what is slower.

A full tariff (three tiers over four TouPeriods by their shares, a levy, VAT) over random accounts:
the kernel with numba and without, a bare numpy loop of the same arithmetic, the oracle in
fractions, and how fast this machine moves the same bytes through memory, all in one run.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable

import numpy as np

from billing.money import IntArray
from billing.rating.model import CompiledTariff, PeriodUse, UseColumns
from billing.rating.rules import fused, kernel
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import oracle_charges
from billing.rating.service import price_columns
from billing.tariffs.model import Tariff
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS
from billing.tariffs.rules import read_tariff

NAMES = ("sharp", "peak", "flat", "valley")
EDGES = (230_000, 400_000)
PRICES = np.array([[890_000, 940_000, 1_190_000], [690_000, 740_000, 990_000],
                   [538_000, 588_000, 838_000], [288_000, 338_000, 588_000]])  # fmt: skip


def tariff() -> Tariff:
    """Return the full tariff."""
    hours = [("sharp", "19:00", "21:00"), ("peak", "08:00", "19:00"), ("flat", "21:00", "24:00"),
             ("valley", "00:00", "08:00")]  # fmt: skip
    cents = {"step": "0.01", "mode": "half_up"}
    edges = ["0", *[str(edge // 1000) for edge in EDGES], None]
    lines = [
        {
            "kind": "energy", "id": name, "label": {"en": name}, "ledger_code": "revenue_energy",
            "periods": [name], "share": "pro_rata", "edge_round": {"step": "0.001", "mode": "down"},
            "scope": {"widths": "fixed", "reset": "period", "mode": "marginal"},
            "steps": [
                {"over_kwh": low, "upto_kwh": high, "price": f"{price / 10**6:.6f}"}
                for low, high, price in zip(edges, edges[1:], PRICES[row].tolist(), strict=False)
            ],
            "round": cents,
        }
        for row, name in enumerate(NAMES)
    ]  # fmt: skip
    taxes = [("levy", "3.5", NAMES), ("vat", "13", (*NAMES, "levy"))]
    lines += [
        {"kind": "percent", "id": name, "label": {"en": name}, "ledger_code": f"payable_{name}",
         "percent": percent, "base": list(base), "round": cents}
        for name, percent, base in taxes
    ]  # fmt: skip
    body = {
        "code": "full", "version": 1, "currency": "CNY", "minor_units": 2, "zone": "Asia/Shanghai",
        "valid_from": "2020-01-01", "basis": "period", "limits": {"energy_kwh": "100000"},
        "vat_included": False, "legal_ref": "none", "sources": ["made for a benchmark"],
        "touperiods": [
            {"name": name, "spans": [{"from": start, "to": end}]} for name, start, end in hours
        ],
        "lines": lines, "total_round": cents,
        "test_cases": [
            {"name": "nothing", "total": "0", "usage": {
                "period": {"start": "2026-01-01", "end": "2026-02-01"}, "quality": "actual",
                "kwh": dict.fromkeys(NAMES, "0")}}
        ],
    }  # fmt: skip
    return read_tariff(json.dumps(body).encode())


def bare(energy: IntArray) -> IntArray:
    """Return the totals of the same arithmetic as a bare numpy loop, whole arrays at a time."""
    whole = energy.sum(axis=0)
    below = [np.minimum(whole, edge) for edge in EDGES]
    amounts = []
    for row in range(4):
        mine = energy[row]
        marks = [part * mine // np.maximum(whole, 1) for part in below]
        parts = [marks[0], marks[1] - marks[0], mine - marks[1]]
        product = sum(part * price for part, price in zip(parts, PRICES[row], strict=True))
        amounts.append((product + 5_000_000) // 10_000_000 * 10_000)
    base = sum(amounts)
    levy = (base * 35 + 5_000_000) // 10_000_000 * 10_000
    vat = ((base + levy) * 13 + 500_000) // 1_000_000 * 10_000
    return base + levy + vat


def quickest(action: Callable[[], object], repeats: int) -> float:
    """Return the seconds of the quickest run."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return min(found)


def memory_bandwidth(octets: int, repeats: int) -> float:
    """Return octets a second, read and written, of a plain copy of this size on one core."""
    source = np.ones(octets // 8, dtype=np.int64)
    target = np.empty_like(source)
    return 2 * octets / quickest(lambda: np.copyto(target, source), repeats)


def figures(accounts: int, repeats: int, threads: int) -> dict[str, object]:
    """Return every figure of one run."""
    full = tariff()
    compiled: CompiledTariff = compile_tariff(full, "bench")
    random = np.random.default_rng(20260101)
    use = UseColumns(energy_wh=random.integers(0, 300_000, (4, accounts)))
    said = price_columns(compiled, use, threads=threads)
    assert (bare(use.energy_wh) == said.total).all()
    sample = random.integers(0, accounts, 2_000)
    uses = [_one(use, int(n)) for n in sample]
    oracle = quickest(lambda: [oracle_charges(full, each).total for each in uses], 1)
    assert [oracle_charges(full, each).total for each in uses] == said.total[sample].tolist()
    octets = accounts * 8 * (4 + len(full.lines) + 1)
    room = kernel.empty_charges(compiled, use)
    one = quickest(lambda: kernel.price_into(compiled, use, 0, accounts, room), repeats)
    many = quickest(lambda: price_columns(compiled, use, threads=threads, room=room), repeats)
    slow = quickest(lambda: bare(use.energy_wh), repeats)
    bandwidth = memory_bandwidth(octets, repeats)
    return {
        "accounts": accounts, "threads": threads, "numba": fused.INSTALLED,
        "kernel_accounts_per_s_one_thread": round(accounts / one),
        "kernel_accounts_per_s": round(accounts / many),
        "bare_numpy_accounts_per_s": round(accounts / slow),
        "oracle_accounts_per_s": round(len(uses) / oracle),
        "octets_per_account": octets // accounts,
        "memory_octets_per_s": round(bandwidth),
        "times_slower_than_memory": round(many * bandwidth / octets, 2),
        "python": platform.python_version(), "cores": os.cpu_count(),
    }  # fmt: skip


def _one(use: UseColumns, account: int) -> PeriodUse:
    full = tariff()
    start = full.valid_from
    return PeriodUse(
        start=start, end=start.replace(month=2), days=31 * DAY_PARTS, months=MONTH_PARTS,
        whole_days=31 * DAY_PARTS, whole_months=MONTH_PARTS, quality="actual",
        energy_wh=tuple(use.energy_wh[:, account].tolist()),
    )  # fmt: skip


def main() -> None:
    """Print the figures as a table, or as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--accounts", type=int, default=2_000_000)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    found = figures(chosen.accounts, chosen.repeats, chosen.threads)
    if chosen.json:
        print(json.dumps(found))
        return
    for name, figure in found.items():
        print(f"{name:36} {figure:>18,}" if isinstance(figure, int | float) else
              f"{name:36} {figure:>18}")  # fmt: skip


if __name__ == "__main__":
    main()
