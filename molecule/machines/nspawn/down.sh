#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# down.sh NAME RUN_DIR BRIDGE: powers NAME off, removes its overlay, and the bridge when it was the last one on it.
set -eu

run=$2/$1 bridge=$3
pid=$(cat "$run/pid")
alive() { grep -q systemd-nspawn "/proc/$pid/comm" 2>/dev/null; }
wait_gone() { # TENTHS
    tenths=$1
    while alive && [ "$tenths" -gt 0 ]; do
        sleep 0.1
        tenths=$((tenths - 1))
    done
}
if alive; then
    init=$(cut -d ' ' -f 1 "/proc/$pid/task/$pid/children")
    [ -z "$init" ] || kill -s RTMIN+4 "$init" # systemd: poweroff.target
    wait_gone 150
    alive && kill -9 "$pid"
    wait_gone 50
fi
umount "$run/root" || umount -l "$run/root"
rm -rf "$run"
if [ -d "/sys/class/net/$bridge/brif" ] && [ -z "$(ls "/sys/class/net/$bridge/brif")" ]; then
    ip link del "$bridge"
fi
