"""Who prices a few accounts does not pay for the import of a compiler."""

import subprocess
import sys

_ASKS = """
import sys
import billing.rating.service, billing.prepaid.service, cloud.vee.service.validating
print("numba" in sys.modules)
"""


def test_the_compiler_is_imported_by_who_needs_it_alone() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _ASKS], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == "False"
