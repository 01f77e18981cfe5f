"""`python -m meterloop.cli`."""

from meterloop.cli import main

main()
