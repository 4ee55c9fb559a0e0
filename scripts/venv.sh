#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# venv.sh DIRECTORY [EXTRA]: a virtual environment with logagent, editable, and what EXTRA of setup.py needs; without it
# everything for tests and linters.
set -eu

directory=$1
extra=${2:-dev}
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is needed; PYTHON=/path/to/python3 names another one than $python." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$(dirname "$0")/install.sh" "Python's venv module is missing" python3-venv "python$version-venv"; then
        echo "A virtual environment cannot be made without Python's venv module." >&2
        exit 1
    fi
fi
[ -x "$directory/bin/python" ] || "$python" -m venv "$directory"
log=$directory/pip.log
if ! "$directory/bin/python" -m pip install --disable-pip-version-check --no-input --retries 1 --timeout 15 \
    --editable ".[$extra]" >"$log" 2>&1; then
    why=$(sed -n 's/^ *ERROR: //p' "$log" | head -n 1)
    echo "pip could not install logagent[$extra], is the network there? ${why:-No reason given}: see $log." >&2
    exit 1
fi
