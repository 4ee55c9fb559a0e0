#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh WHY PACKAGE...: installs Debian packages, after asking.
# Prints the command. On a terminal it asks; with CI=true or YES=1 it goes ahead; otherwise it changes nothing and fails.
set -eu

why=$1
shift
if ! command -v apt-get >/dev/null 2>&1; then
    echo "$why: install what Debian calls $* and run make again." >&2
    exit 1
fi
as_root=
[ "$(id -u)" -eq 0 ] || as_root="sudo "
echo "$why. This installs it:" >&2
echo "    ${as_root}apt-get update && ${as_root}apt-get install --no-install-recommends $*" >&2
if [ "${CI:-}" != true ] && [ "${YES:-}" != 1 ]; then
    [ -t 0 ] || exit 1
    printf 'Run it now? [y/N] ' >&2
    read -r answer || exit 1
    case $answer in
    [yY]*) ;;
    *) exit 1 ;;
    esac
fi
export DEBIAN_FRONTEND=noninteractive
if [ -n "$as_root" ]; then
    set -- sudo --preserve-env=DEBIAN_FRONTEND apt-get install --no-install-recommends -y "$@"
    sudo apt-get update -qq
else
    set -- apt-get install --no-install-recommends -y "$@"
    apt-get update -qq
fi
"$@" </dev/null
