"""Serve the broker of the `iotcore` wheel in this process: `python -m ... SETTINGS.toml`."""

import logging
import os
import signal
import sys
from types import FrameType

from iotcore.iotcore import IotCoreBroker


def main(argv: list[str]) -> None:
    """Serve until a signal comes; the native server has no other way to end."""

    def end(_number: int, _frame: FrameType | None) -> None:
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    logging.basicConfig(level=logging.WARNING)
    # it opens a span of level ERROR for every packet; that is no error
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    IotCoreBroker(config_path=argv[1]).run_forever()


if __name__ == "__main__":
    main(sys.argv)
