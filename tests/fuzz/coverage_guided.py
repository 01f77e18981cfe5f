"""
Coverage-guided fuzzing of every decoder: octets either parse or raise PeerError, within 50 ms.

    make fuzz [ARGS="--seconds 60"]

Needs atheris, which `make fuzz` installs; the Hypothesis fuzz of the gate runs without it. Each
decoder is fuzzed by a process of its own for an equal share of the time; what breaks one is written
to `.fuzz/` and printed, and the exit code is 1. Interesting inputs stay in `.fuzz/` for next time.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from protocols.errors import PeerError

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".fuzz"
SLOWEST_SECONDS = 0.05
MOST_OCTETS = 2048


def targets() -> dict[str, Callable[[bytes], object]]:
    """Return each decoder by name."""
    from protocols.dlms import acse, apdu, axdr, general_glo, hdlc, initiate, security
    from protocols.dlms.classes import clock, profile
    from protocols.dlms.classes.columns import read_columns
    from protocols.dlms.hdlc_control import decode_limits
    from protocols.dlms.mode_e import SignOn
    from protocols.dlms.wrapper import Unwrapper
    from protocols.dlt645.frame import FrameReader as DltReader
    from protocols.dlt645.frame import decode_frame
    from protocols.modbus.pdu import FrameReader
    from protocols.modbus.plan import ReadRequest
    from protocols.modbus.rtu import RtuRead
    from protocols.tape.redact import Redactor

    def redact(octets: bytes) -> None:
        redactor = Redactor()
        redactor.client(octets)
        redactor.flush()
        redactor.meter(octets)

    keys = security.Keys(encryption=bytes(16), authentication=bytes(16))
    energy = profile.CaptureObject(class_id=3, name=b"\x01\x00\x01\x08\x00\xff")
    layout = profile.Layout.of((profile.CLOCK_COLUMN, profile.STATUS_COLUMN, energy), 900)
    read = RtuRead(unit=1, request=ReadRequest(fc=4, address=0, count=2))
    return {
        "axdr": axdr.decode,
        "request": apdu.decode_request,
        "response": apdu.decode_response,
        "aarq": acse.decode_aarq,
        "aare": acse.decode_aare,
        "initiate": initiate.decode_request,
        "glo": lambda octets: general_glo.decode_ciphered(octets, 0xDB, 0xCC),
        "unseal": lambda octets: security.unseal(keys, bytes(8), octets),
        "wrapper": lambda octets: Unwrapper().feed(octets),
        "hdlc": lambda octets: hdlc.Deframer().feed(octets),
        "hdlc-limits": decode_limits,
        "sign-on": lambda octets: SignOn().identification(octets),
        "moment": clock.decode_moment,
        "rows": lambda octets: profile.decode_rows(axdr.decode_whole(octets), layout),
        "columns": lambda octets: read_columns(octets, layout, (2,)),
        "modbus-tcp": lambda octets: FrameReader().feed(octets),
        "modbus-rtu": lambda octets: read.search().feed(octets),
        "dlt645": decode_frame,
        "dlt645-stream": lambda octets: DltReader().feed(octets),
        "redactor": redact,
    }


def check(decoder: Callable[[bytes], object], octets: bytes) -> None:
    """Run one input; what is neither a value nor a PeerError, or is slow, escapes."""
    begun = time.process_time()
    with contextlib.suppress(PeerError):
        decoder(octets)
    spent = time.process_time() - begun
    if spent > SLOWEST_SECONDS:
        # coverage counting is slow itself: only what is slow twice is slow
        begun = time.process_time()
        with contextlib.suppress(PeerError):
            decoder(octets)
        spent = time.process_time() - begun
        if spent > 4 * SLOWEST_SECONDS:
            raise AssertionError(f"{spent:.3f} s for {len(octets)} octets")


def fuzz_one(name: str, seconds: int) -> None:
    """Fuzz one decoder in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["protocols"]):
        decoder = targets()[name]
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
    names = list(targets())
    share = max(1, options.seconds // len(names))
    broken = []
    for name in names:
        done = subprocess.run(
            [sys.executable, __file__, "--only", name, "--seconds", str(share)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        ran = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        count = ran[-1].split()[-1] if ran else "?"
        sys.stdout.write(f"{name:<14} {'ok' if not done.returncode else 'BROKEN'} {count} runs\n")
        sys.stdout.flush()
        if done.returncode:
            broken.append(name)
            sys.stdout.write(done.stdout[-2000:] + done.stderr[-3000:] + "\n")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
