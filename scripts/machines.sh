#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# machines.sh KIND BIN [ARGUMENT...]: runs the scenarios of molecule/ on machines of KIND, nspawn or qemu, with the molecule
# in BIN; the arguments go to `molecule test` (default: all of them; on virtual machines default and rollout). What a host cannot do is skipped with a word, and is an
# error with CI=true.
set -eu

kind=$1 bin=$2
shift 2
here=$(dirname "$0")

give_up() {
    if [ "${CI:-}" = true ]; then
        echo "$1" >&2
        exit 1
    fi
    echo "$1 The scenarios are SKIPPED." >&2
    exit 0
}

missing() { # COMMAND=PACKAGE...: packages of the commands that are not there
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null 2>&1 || printf '%s ' "${pair#*=}"
    done
}

[ "$(uname -s)" = Linux ] || give_up "Machines need Linux."
[ "$(id -u)" -eq 0 ] || give_up "Making images of machines, and nspawn, need root."
packages=$(missing debootstrap=debootstrap ssh=openssh-client ssh-keygen=openssh-client ip=iproute2)
case $kind in
nspawn)
    packages="$packages$(missing systemd-nspawn=systemd-container)"
    [ $# -gt 0 ] || set -- --all
    ;;
qemu)
    packages="$packages$(missing qemu-system-x86_64=qemu-system-x86 qemu-img=qemu-utils mkfs.ext4=e2fsprogs)"
    [ $# -gt 0 ] || set -- --scenario-name default --scenario-name rollout
    # Emulated by qemu 7.2, Debian 13 does not come up: its kernel and its systemd break off at varying places.
    export LOGAGENT_SECOND_SUITE="${LOGAGENT_SECOND_SUITE:-bookworm}"
    ;;
*)
    echo "machines.sh: there are no machines of kind $kind." >&2
    exit 2
    ;;
esac
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # one word per package
    "$here/install.sh" "Machines of kind $kind need more" $packages || give_up "What machines need is missing."
fi
try=$(mktemp -d)
mkdir "$try/lower" "$try/upper" "$try/work" "$try/root"
if mount -t overlay overlay -o "lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work" "$try/root" 2>/dev/null; then
    umount "$try/root"
    overlay=yes
else
    overlay=
fi
rm -rf "$try"
[ -n "$overlay" ] || give_up "This host cannot mount overlayfs."

cd "$here/.."
PATH=$(cd "$bin" && pwd):$PATH
export PATH LOGAGENT_MACHINE="$kind"
exec molecule test "$@"
