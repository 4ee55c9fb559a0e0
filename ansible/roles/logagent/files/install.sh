#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh ARCHIVE RELEASE VERSION PYTHON: makes the directory RELEASE from a wheelhouse. It is complete when it holds
# .complete; what an interrupted run left is removed first. Neither index nor compiler nor the venv package is needed.
set -eu

archive=$1 release=$2 version=$3 python=$4
umask 022
rm -rf "$release"
mkdir "$release"
cd "$release"
tar -xf "$archive"
"$python" -m venv --without-pip .
target=$(bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ ! -e "requirements-$target.txt" ]; then
    echo "The wheelhouse has no wheels for Python $target; make wheelhouse PYTHONS=$target makes one that has." >&2
    exit 1
fi
# pip runs from its own wheel and stays out of the release. --isolated: the host's settings of pip do not matter.
PYTHONPATH=$(echo wheels/pip-*.whl) bin/python -m pip --isolated --disable-pip-version-check install --quiet --no-index \
    --no-cache-dir --no-warn-script-location --root-user-action=ignore --find-links wheels --require-hashes \
    --requirement "requirements-$target.txt"
rm -rf wheels requirements-*.txt "$archive"
said=$(bin/logagent --version)
if [ "$said" != "logagent $version" ]; then
    echo "The wheelhouse holds '$said', expected logagent $version." >&2
    exit 1
fi
: >.complete
