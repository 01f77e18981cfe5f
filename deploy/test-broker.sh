#!/usr/bin/env bash
# Install mosquitto for the tests of mutual TLS, where that is allowed; else say what is missing.
set -u
export PATH="$PATH:/usr/sbin:/usr/local/sbin"
command -v mosquitto >/dev/null 2>&1 && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing mosquitto for the tests of mutual TLS"
  if apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto \
      >/dev/null; then
    exit 0
  fi
fi

echo "NOTE: the tests of mutual TLS are skipped: mosquitto is not installed." >&2
echo "  fix: ask an administrator for: apt-get install mosquitto" >&2
exit 0
