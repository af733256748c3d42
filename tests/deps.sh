#!/bin/sh
# Makes sure that what the tests need is here: each argument is PACKAGE, PACKAGE:HEADER or PACKAGE=COMMAND. Installs what is
# missing through apt-get if that can be done without asking; else says in one line what is missing, and fails.
set -u

have() {
    case $1 in
    *:*) printf '#include <stddef.h>\n#include <stdint.h>\n#include <stdarg.h>\n#include <setjmp.h>\n#include <%s>\n' "${1#*:}" |
        ${CC:-cc} ${CPPFLAGS:-} -fsyntax-only -x c - >/dev/null 2>&1 ;;
    *=*) command -v "${1#*=}" >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 || dpkg -s "$1" >/dev/null 2>&1 ;;
    esac
}

missing() {
    for want in "$@"; do
        have "$want" || printf '%s ' "${want%%[:=]*}"
    done
}

packages=$(missing "$@")
[ -z "$packages" ] && exit 0

root=
if [ "$(id -u)" -ne 0 ]; then root='sudo -n'; fi
if command -v apt-get >/dev/null 2>&1 && $root true >/dev/null 2>&1; then
    log=$(mktemp)
    # shellcheck disable=SC2086
    # One at a time: apt's own lock does not wait.
    { $root flock /var/lib/dpkg sh -c "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages"; } >"$log" 2>&1 ||
        tail -n 3 "$log" >&2
    rm -f "$log"
    hash -r
fi
packages=$(missing "$@")
[ -z "$packages" ] && exit 0
echo "missing, and not to be installed from here: apt-get install $packages" >&2
exit 1
