#!/usr/bin/env bash
# Make a virtual environment with Python 3.11 or newer: `make-venv.sh FOLDER`.
set -eu
folder=$1

for name in python3.11 python3 python3.12 python3.13; do
  if command -v "$name" >/dev/null 2>&1 &&
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$name
    break
  fi
done
if [ -z "${python:-}" ]; then
  echo "Meterloop needs Python 3.11 or newer; none is on PATH." >&2
  echo "  fix: apt-get install python3.11 python3.11-venv" >&2
  exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing python${version}-venv"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "python${version}-venv" >/dev/null
  else
    echo "$python lacks ensurepip, so it cannot make a virtual environment." >&2
    echo "  fix: ask an administrator for: apt-get install python${version}-venv" >&2
    exit 1
  fi
fi

"$python" -m venv "$folder"
