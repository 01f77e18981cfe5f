"""
Coverage-guided fuzzing of every decoder: octets parse or are refused by type, within 50 ms.

    make fuzz [ARGS="--seconds 60"]

Needs atheris, which `make fuzz` installs; the Hypothesis fuzz of the gate runs without it. Each
decoder is fuzzed by a process of its own for an equal share of the time; what breaks one is written
to `.fuzz/` and printed, and the exit code is 1. Interesting inputs stay in `.fuzz/` for next time.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".fuzz"
MOST_OCTETS = 2048


def fuzz_one(name: str, seconds: int) -> None:
    """Fuzz one decoder in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["protocols"]):
        from tests.fuzz.decoders import check, decoders

        decoder = decoders()[name]
    corpus, found = KEPT / "corpus" / name, KEPT / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    options = [
        sys.argv[0], f"-max_total_time={seconds}", f"-max_len={MOST_OCTETS}", "-timeout=5",
        "-rss_limit_mb=1024", "-verbosity=0", "-print_final_stats=1",
        f"-artifact_prefix={found}/{name}-", str(corpus),
    ]  # fmt: skip
    atheris.Setup(options, lambda octets: check(decoder, octets))
    atheris.Fuzz()


def main() -> None:
    """Fuzz every decoder, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all decoders together")
    parser.add_argument("--only", default="", help="one decoder, by name")
    options = parser.parse_args()
    if options.only:
        fuzz_one(options.only, options.seconds)
        return
    from tests.fuzz.decoders import decoders

    names = list(decoders())
    share = max(1, options.seconds // len(names))
    broken = []
    for name in names:
        done = subprocess.run(
            [sys.executable, __file__, "--only", name, "--seconds", str(share)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        ran = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        count = ran[-1].split()[-1] if ran else "?"
        sys.stdout.write(f"{name:<20} {'ok' if not done.returncode else 'BROKEN'} {count} runs\n")
        sys.stdout.flush()
        if done.returncode:
            broken.append(name)
            sys.stdout.write(done.stdout[-2000:] + done.stderr[-3000:] + "\n")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
