# shellcheck shell=bash
# To be sourced: exports TWISTED_PYTHON, a Python that has Twisted. Debian's Twisted belongs to Debian's Python, which need not be
# the first in the path.
for TWISTED_PYTHON in "${PYTHON:-python3}" /usr/bin/python3 none; do
    "$TWISTED_PYTHON" -c 'import twisted' >/dev/null 2>&1 && break
done
if [ "$TWISTED_PYTHON" = none ]; then
    echo "missing, and not to be installed from here: Twisted for ${PYTHON:-python3} or /usr/bin/python3" >&2
    return 1
fi
export TWISTED_PYTHON
