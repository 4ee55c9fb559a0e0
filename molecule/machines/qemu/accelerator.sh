#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# accelerator.sh VMLINUZ: prints kvm if KVM really boots this kernel (to the panic for want of a disk), else what emulates
# it. That /dev/kvm can be written says nothing: it may lead to nowhere.
set -eu

if [ -w /dev/kvm ] && timeout 20 qemu-system-x86_64 -accel kvm -cpu max -m 256 -nodefaults -display none -no-reboot \
    -serial stdio -kernel "$1" -append "console=ttyS0 panic=-1" </dev/null 2>/dev/null | grep -q "Linux version"; then
    echo kvm
else
    echo tcg,thread=multi,tb-size=256
fi
