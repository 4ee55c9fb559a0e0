#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# down.sh PID_FILE: ends the machine whose process that is, and waits until it is gone.
set -eu

pid=$(cat "$1")
alive() { grep -q qemu-system "/proc/$pid/comm" 2>/dev/null; }
alive || exit 0
kill "$pid"
tenths=100
while alive && [ "$tenths" -gt 0 ]; do
    sleep 0.1
    tenths=$((tenths - 1))
done
if alive; then kill -9 "$pid"; fi
