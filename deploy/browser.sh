#!/usr/bin/env bash
# Install Chromium and fonts for the tests of pages, where that is allowed; else say what is missing.
set -u

missing=()
command -v chromium >/dev/null 2>&1 || missing+=(chromium)
if command -v fc-list >/dev/null 2>&1; then
  fc-list | grep -qi 'NotoSans' || missing+=(fonts-noto-core)
  fc-list ':lang=zh' | grep -q . || missing+=(fonts-wqy-microhei)
else
  missing+=(fontconfig fonts-noto-core fonts-wqy-microhei)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing ${missing[*]} for the tests of pages"
  if apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "${missing[@]}" >/dev/null; then
    exit 0
  fi
fi

echo "NOTE: the tests of pages in a browser are skipped: ${missing[*]} not installed." >&2
echo "  fix: ask an administrator for: apt-get install ${missing[*]}" >&2
exit 0
