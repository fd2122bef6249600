#!/usr/bin/env bash
# Makes the genuine peers of the tests available: Debian's Redis (server, Sentinel, command line),
# `ip` for network namespaces, and what the cluster of the operator's tests is made with. As root on
# a machine with apt-get it installs what is missing, without starting any service; otherwise it says
# what is missing. It never fails: tests that lack a peer say so themselves.
set -euo pipefail

missing=()
while read -r program package; do
  command -v "$program" >/dev/null 2>&1 || [[ " ${missing[*]-} " == *" $package "* ]] ||
    missing+=("$package")
done <<'PROGRAMS'
redis-server redis-server
redis-sentinel redis-sentinel
redis-cli redis-tools
ip iproute2
setpriv util-linux
nsenter util-linux
openssl openssl
PROGRAMS
[ "${#missing[@]}" -eq 0 ] && exit 0

say() {
  for package in "${missing[@]}"; do
    echo "test-peers: $package is missing, $1; tests that need it are skipped" >&2
  done
  exit 0
}
[ "$(id -u)" -eq 0 ] || say "and only root can install it"
command -v apt-get >/dev/null 2>&1 || say "and there is no apt-get to install it"

# Debian starts a service when its package is installed, unless this program says no (101: "action
# forbidden by policy"). A machine that has a policy of its own keeps it.
policy=/usr/sbin/policy-rc.d
remove_policy() { rm -f "$policy"; }
if [ ! -e "$policy" ]; then
  trap remove_policy EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 0755 "$policy"
fi

log=$(mktemp)
install() {
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
    -o DPkg::Lock::Timeout=120 "${missing[@]}" >"$log" 2>&1
}
# The package lists may be absent or old: fetch them only if it does not work without.
if ! install; then
  apt-get update --quiet >"$log" 2>&1 || true
  if ! install; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    say "and apt-get failed, see above"
  fi
fi
rm -f "$log"
