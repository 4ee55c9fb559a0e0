#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kafka-libs.sh [VERSION...]: what real brokers need: Java, and the run-time jars of Apache Kafka by Maven, in a cache
# outside the source tree. A version is fetched into a temporary directory and renamed when it is complete, so what is
# there can be trusted. Where something is missing and may not be installed, tests that need brokers are skipped.
set -eu

here=$(dirname "$0")
cache=${LOGAGENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/logagent}
[ $# -gt 0 ] || set -- 3.9.1 4.1.1 # the versions of logagent/demo/kafka_node.py
copy=org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

dependency() {
    echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"
}

pom() { # Kafka leaves out the binding from slf4j to its logger: without one a broker starts but says nothing.
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>kafka-libs</artifactId>'
    echo '<version>1</version><packaging>pom</packaging><dependencies>'
    dependency org.apache.kafka kafka_2.13 "$1"
    case $1 in
    3.*) dependency org.slf4j slf4j-reload4j 1.7.36 ;;
    *)
        dependency org.apache.logging.log4j log4j-slf4j-impl 2.24.3
        dependency org.apache.logging.log4j log4j-core 2.24.3
        ;;
    esac
    echo '</dependencies></project>'
}

java_is_new_enough() {
    found=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${found:-0}" -ge 17 ]
}

jars_are_missing() {
    for version in "$@"; do
        [ -d "$cache/kafka-$version/libs" ] || return 0
    done
    return 1
}

give_up() { # at home the tests run without brokers; in CI that would be a hole
    if [ "${CI:-}" = true ]; then
        echo "$1" >&2
        exit 1
    fi
    echo "$1 Tests that need Kafka will be SKIPPED." >&2
    exit 0
}

packages=
java_is_new_enough || packages="default-jre-headless"
if jars_are_missing "$@" && ! command -v mvn >/dev/null 2>&1; then
    packages="${packages:+$packages }maven"
fi
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # one word per package
    "$here/install.sh" "Real Kafka brokers need Java 17 or newer, and Maven to fetch them" $packages ||
        give_up "Java 17 or Maven is missing."
    java_is_new_enough || give_up "The java on PATH is older than 17."
fi

for version in "$@"; do
    target=$cache/kafka-$version
    [ ! -d "$target/libs" ] || continue
    echo "Fetching Kafka $version by Maven into $cache, once."
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.fetch-XXXXXX")
    pom "$version" >"$work/pom.xml"
    mkdir "$work/kafka"
    mvn -q -B -Dstyle.color=never -f "$work/pom.xml" "$copy" -DincludeScope=runtime \
        -DoutputDirectory="$work/kafka/libs" </dev/null ||
        give_up "Maven could not fetch Kafka $version."
    chmod 755 "$work/kafka"
    # Somebody else may have been quicker: then mv -T refuses to replace a full directory, and theirs is as good.
    mv -T "$work/kafka" "$target" 2>/dev/null || [ -d "$target/libs" ]
    rm -rf "$work"
    work=
done
