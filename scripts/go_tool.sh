#!/bin/sh
# Build a Go program into .venv/bin, unless it is on the PATH already:  go_tool.sh NAME MODULE@VERSION
# Go's own folders stay inside .venv too, and are removed afterwards.
set -eu

name=$1
module=$2
venv=$(pwd)/.venv

if command -v "$name" >/dev/null; then
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "$name: not on the PATH, and no Go here to build it with; going on without it" >&2
    exit 0
fi

echo "$name: building $module into .venv/bin"
export GOBIN="$venv/bin" GOPATH="$venv/go" GOMODCACHE="$venv/go/pkg/mod" GOCACHE="$venv/go/cache"
export GOFLAGS=-modcacherw
trap 'rm -rf "$venv/go"' EXIT
if ! go install "$module"; then
    echo "$name: the build failed; going on without it" >&2
fi
