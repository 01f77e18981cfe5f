#!/usr/bin/env bash
# A real TimescaleDB for the tests: Debian trixie's PostgreSQL 17 with the extension, in a folder of
# the user's cache. Made once (about 90 seconds, 700 MB); where it cannot be made, says why.
# The mirror is the one this machine's apt uses.
set -u
export PATH="$PATH:/usr/sbin:/sbin"
cache="${METERLOOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meterloop}"
kept="$cache/timescale-pg17"
limit="${METERLOOP_TIMESCALE_SECONDS:-600}"

skip() {
  echo "NOTE: the tests on TimescaleDB are skipped: $1" >&2
  echo "  fix: $2" >&2
  exit 0
}

[ -x "$kept/usr/lib/postgresql/17/bin/postgres" ] && exit 0

[ "$(id -u)" = 0 ] ||
  skip "$kept is missing and only root can make it" "run make test-timescale once as root"
command -v apt-get >/dev/null 2>&1 || skip "this system has no apt-get" "use a Debian or an Ubuntu"

if ! command -v debootstrap >/dev/null 2>&1; then
  echo "installing debootstrap for the tests on TimescaleDB"
  { timeout 120 apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive timeout 120 apt-get install -y -qq --no-install-recommends \
      debootstrap >/dev/null; } ||
    skip "debootstrap cannot be installed" "ask an administrator for: apt-get install debootstrap"
fi
# shellcheck disable=SC2016 # the words in dollars are apt's
mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
  grep -E '/debian/?$' | sort -u | head -n 1)"
[ -n "$mirror" ] || skip "apt names no mirror of Debian" "add one to the sources of apt"

mkdir -p "$cache"
exec 9>"$cache/timescale-pg17.lock"
flock -w "$limit" 9 || skip "another run is still making $kept" "try again later"
[ -x "$kept/usr/lib/postgresql/17/bin/postgres" ] && exit 0

rm -rf --one-file-system "$kept.part" # of a run that was cut short
echo "making $kept: PostgreSQL 17 with TimescaleDB (about 90 seconds, once)"
# mounts of its own: what a cut short run mounted is gone with it
if ! timeout "$limit" unshare --mount debootstrap --variant=minbase \
  --include=postgresql-17,postgresql-17-timescaledb trixie "$kept.part" "$mirror" \
  >"$cache/timescale-pg17.log" 2>&1; then
  rm -rf --one-file-system "$kept.part"
  skip "debootstrap did not succeed; $cache/timescale-pg17.log says why" "then try again"
fi
rm -rf "$kept.part"/var/cache/apt/archives/*.deb "$kept.part"/var/lib/apt/lists/*
mv "$kept.part" "$kept"
