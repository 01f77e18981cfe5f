"""`python -m meterloop.healthy PORT`: exit 0 when the process behind the port says it is ready."""

import http.client
import sys


def main(argv: list[str]) -> int:
    """Ask `/healthz` once."""
    connection = http.client.HTTPConnection("127.0.0.1", int(argv[1]), timeout=2)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == http.client.OK else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
