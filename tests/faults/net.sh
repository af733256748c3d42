#!/bin/bash
# net.sh [--short]: server and clients on two hosts (network namespaces) with a bad cable between them; net.py says what is
# checked. Linux, root. Ends with "N checks, N failed".
set -u
build=${BUILD:-build}
tests/deps.sh python3=python3 nftables=nft iproute2=ip || exit 1
mkdir -p "$build/faults"
${CC:-cc} -std=c11 -O2 -Wall -Wextra -o "$build/faults/tun" tests/faults/tun.c || exit 1
root=
[ "$(id -u)" -eq 0 ] || root='sudo -n'
exec $root "${PYTHON:-python3}" -B tests/faults/net.py "$build/framed" "$build/faults/tun" "$@"
