"""
Copies the pinned browser libraries from their npm packages into the tree.

Run by hand when a pin in `vendor.lock` changes: `python portal/static/vendor.py` fetches each
package with npm's own client, compares its SHA-512 with the lock, and copies the files named
there. With `--pin` it writes the digest of what it fetched. Nothing is fetched at run time.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("vendor.lock")


def digest_of(content: bytes) -> str:
    """Return the digest in npm's integrity form, `sha512-` and base64."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def fetch(package: dict[str, Any], folder: Path) -> bytes:
    """Return the package's tarball as npm delivers it. Raises CalledProcessError when npm fails."""
    name = f"{package['name']}@{package['version']}"
    listing = subprocess.run(
        ["npm", "pack", "--json", "--pack-destination", str(folder), name],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    filename = str(json.loads(listing)[0]["filename"])
    return (folder / filename.replace("/", "-")).read_bytes()


def main(arguments: list[str]) -> int:
    """Fetch, compare, copy; return 1 when a digest differs from the lock."""
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    for package in lock["packages"]:
        with tempfile.TemporaryDirectory() as scratch:
            content = fetch(package, Path(scratch))
            digest = digest_of(content)
            if "--pin" in arguments:
                package["sha512"] = digest
            elif digest != package["sha512"]:
                sys.stderr.write(f"{package['name']}: {digest} is not what vendor.lock pins\n")
                return 1
            with tarfile.open(next(Path(scratch).glob("*.tgz"))) as tarball:
                for source, target in package["files"].items():
                    member = tarball.extractfile(f"package/{source}")
                    assert member is not None, source
                    (ROOT / target).parent.mkdir(parents=True, exist_ok=True)
                    (ROOT / target).write_bytes(member.read())
    if "--pin" in arguments:
        LOCK.write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
