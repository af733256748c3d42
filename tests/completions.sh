#!/bin/sh
# The completions in the shells that `make test` does not ask for: zsh and fish. Needs the tool in $BUILD.
tests/deps.sh zsh=zsh fish=fish || exit 1
build=${BUILD:-build}
FRAMED=$build/framed BUILD=$build timeout -k 5 300 "${PYTHON:-python3}" -B tests/tool/shells.py -v
