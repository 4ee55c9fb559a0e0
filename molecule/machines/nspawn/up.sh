#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# up.sh NAME TREE RUN_DIR BRIDGE GATEWAY ADDRESS KEY.pub: boots NAME from an overlay of TREE, on a private bridge (/24).
# Needs root, but neither systemd nor machined on this host (--register=no --keep-unit) nor a terminal (--console=pipe).
set -eu

name=$1 tree=$2 run=$3/$1 bridge=$4 gateway=$5 address=$6 key=$7
mkdir -p "$run/upper" "$run/work" "$run/root"
mount -t overlay "molecule-$name" -o "lowerdir=$tree,upperdir=$run/upper,workdir=$run/work" "$run/root"
printf '[Match]\nName=host0\n\n[Network]\nAddress=%s/24\nGateway=%s\n' "$address" "$gateway" \
    >"$run/root/etc/systemd/network/10-host0.network"
if [ ! -e "/sys/class/net/$bridge" ]; then
    ip link add name "$bridge" type bridge
    ip addr add "$gateway/24" dev "$bridge"
    ip link set "$bridge" up
fi
# With --keep-unit a machine that boots again ends with 133, and whoever started it is to start it anew.
cat >"$run/boot" <<BOOT
#!/bin/sh
code=133
while [ "\$code" -eq 133 ]; do
    systemd-nspawn --quiet --register=no --keep-unit --console=pipe --directory='$run/root' --machine='$name' \\
        --network-bridge='$bridge' --boot --set-credential='ssh.authorized_keys.root:$(cat "$key")' &
    echo \$! >'$run/pid'
    wait \$!
    code=\$?
done
BOOT
setsid sh "$run/boot" </dev/null >"$run/console" 2>&1 &
while [ ! -s "$run/pid" ]; do sleep 0.1; done
