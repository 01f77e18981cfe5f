"""
Ciphered reads of one register by gurux-dlms, the reference: a job on stdin, figures on stdout.

Runs in the peers' own environment (`make interop`) and imports nothing of the product.
"""

import io
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "interop" / "peers"))

from gurux_client import Reader
from gurux_dlms.objects import GXDLMSRegister


def main() -> None:
    job = json.load(sys.stdin)
    # the library prints to stdout what it does: neither into our answer nor onto a slow terminal
    answers, sys.stdout = sys.stdout, io.StringIO()
    reader = Reader(job)
    reader.associate()
    energy = GXDLMSRegister("1.0.1.8.0.255")
    reader.exchange(reader.client.read(energy, 2))
    count, began, spent = 0, time.monotonic(), time.process_time()
    while time.monotonic() - began < job["seconds"]:
        reader.exchange(reader.client.read(energy, 2))
        count += 1
    wall, cpu = time.monotonic() - began, time.process_time() - spent
    reader.line.close()
    json.dump({"reads": count, "seconds": wall, "cpu_seconds": cpu}, answers)


if __name__ == "__main__":
    main()
