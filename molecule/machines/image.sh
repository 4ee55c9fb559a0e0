#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# image.sh SUITE PROFILE KIND: a machine image of Debian SUITE in the cache outside the source tree; prints its directory.
# PROFILE is agent or middleware (the same with Java, Kafka and Etcd); KIND is tree (for nspawn) or disk (for qemu: the
# tree with a kernel, as disk.img, vmlinuz and initrd). Wants root. Packages come from where this host gets its own.
set -eu

suite=$1 profile=$2 kind=$3
here=$(cd "$(dirname "$0")" && pwd)
cache=${LOGAGENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/logagent}
kafka=3.9.1
packages=systemd,systemd-sysv,dbus,udev,openssh-server,python3,iproute2,ca-certificates,procps
# What the image is made by names it: a changed script makes a new image.
case $profile in
agent) made_by=$(cat "$here/image.sh" | sha256sum) ;;
middleware) made_by=$(cat "$here/image.sh" "$here/middleware.sh" | sha256sum) ;;
*) made_by= ;;
esac
target=$cache/machines/$suite-$profile-$(echo "$made_by" | cut -c 1-12)
work=

give_up() {
    echo "$1" >&2
    exit 1
}

clean() {
    [ -n "$work" ] || return 0
    umount "$work/tree/proc" "$work/root" 2>/dev/null || :
    rm -rf "$work"
}

repository() { # where this host gets its packages; debootstrap's own choice if it is no Debian
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' 'Created-By: Packages' 2>/dev/null |
        sed -n 's/^Debian Debian //p' | head -n 1
}

configure() { # a machine that boots fast, answers ssh, and changes nothing by itself
    rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname" "$1/etc/resolv.conf"
    : >"$1/etc/machine-id"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$1/etc/hosts"
    printf '%s\n' 'PermitRootLogin prohibit-password' 'PasswordAuthentication no' 'UseDNS no' \
        'HostKey /etc/ssh/ssh_host_ed25519_key' >"$1/etc/ssh/sshd_config.d/molecule.conf"
    cat >"$1/etc/systemd/system/host-key.service" <<'UNIT'
[Unit]
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=ssh.service
UNIT
    chroot "$1" systemctl -q enable systemd-networkd systemd-network-generator host-key ssh
    chroot "$1" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
        dpkg-db-backup.timer getty@tty1.service systemd-networkd-wait-online.service
}

add_middleware() { # the jars and the server that `make kafka-libs` and the tests use
    [ -d "$cache/kafka-$kafka/libs" ] || give_up "There is no Kafka in $cache/kafka-$kafka/libs: make kafka-libs fetches it."
    mkdir -p "$1/opt/kafka"
    cp -r "$cache/kafka-$kafka/libs" "$1/opt/kafka/"
    if etcd=$(ls -d "$cache"/etcd-3.5.*/etcd 2>/dev/null | tail -n 1) && [ -n "$etcd" ]; then
        install -m 0755 "$etcd" "${etcd}ctl" "$1/usr/local/bin/"
    fi
    mount -t proc proc "$1/proc" # Java finds its libraries through /proc/self/exe
    "$here/middleware.sh" "$1"
    umount "$1/proc"
}

make_tree() {
    work=$(mktemp -d "$cache/machines/.make-XXXXXX")
    chmod 755 "$work"
    case $profile in
    agent) ;;
    middleware)
        packages=$packages,default-jre-headless
        ls "$cache"/etcd-3.5.*/etcd >/dev/null 2>&1 || packages=$packages,etcd-server,etcd-client
        ;;
    esac
    echo "Making the image $suite-$profile, once." >&2
    # shellcheck disable=SC2046 # no word where nothing was found
    debootstrap --variant=minbase --include="$packages" "$suite" "$work/tree" $(repository) >"$work/log" 2>&1 ||
        give_up "debootstrap failed: $(tail -n 5 "$work/log")"
    configure "$work/tree"
    [ "$profile" != middleware ] || add_middleware "$work/tree"
    rm -rf "$work"/tree/var/cache/apt/archives/*.deb "$work"/tree/var/lib/apt/lists/*
    mv -T "$work" "$target"
    work=
}

make_disk() { # on an overlay of the tree, so that nspawn's machines boot without a kernel in it
    work=$(mktemp -d "$cache/machines/.make-XXXXXX")
    mkdir "$work/upper" "$work/work" "$work/root"
    mount -t overlay overlay -o "lowerdir=$target/tree,upperdir=$work/upper,workdir=$work/work" "$work/root"
    echo "Making the disk $suite-$profile, once." >&2
    cp /etc/resolv.conf "$work/root/etc/resolv.conf"
    {
        chroot "$work/root" apt-get update -q
        DEBIAN_FRONTEND=noninteractive chroot "$work/root" apt-get install -q -y --no-install-recommends linux-image-cloud-amd64
    } >"$work/log" 2>&1 || give_up "the kernel could not be installed: $(tail -n 5 "$work/log")"
    rm -rf "$work/root/etc/resolv.conf" "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    cp "$work"/root/boot/vmlinuz-* "$target/vmlinuz"
    cp "$work"/root/boot/initrd.img-* "$target/initrd"
    truncate -s 4G "$work/disk.img"
    mkfs.ext4 -q -F -d "$work/root" -L root -E lazy_itable_init=1,lazy_journal_init=1 "$work/disk.img"
    mv "$work/disk.img" "$target/disk.img"
    clean
    work=
}

[ -n "$made_by" ] || give_up "image.sh: there is no profile $profile."
[ "$(id -u)" -eq 0 ] || give_up "image.sh wants root."
trap clean EXIT
trap 'exit 130' INT TERM
mkdir -p "$cache/machines"
exec 9>"$cache/machines/.lock"
flock 9
[ -d "$target" ] || make_tree
[ "$kind" = tree ] || [ -e "$target/disk.img" ] || make_disk
echo "$target"
