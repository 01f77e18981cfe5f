"""Serve the broker of the `iotcore` wheel in this process: `python -m ... SETTINGS.toml`."""

import logging
import signal
import sys

from iotcore.iotcore import IotCoreBroker


def main(argv: list[str]) -> None:
    """Serve until a signal ends the process: the native server never comes back to Python."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(level=logging.WARNING)
    # it opens a span of level ERROR for every packet; that is no error
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    IotCoreBroker(config_path=argv[1]).run_forever()


if __name__ == "__main__":
    main(sys.argv)
