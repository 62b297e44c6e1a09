# shellcheck shell=bash disable=SC2034
# Sourced by the scripts: what they need on the machine, and how to get it where that is possible.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# need_package COMMAND PACKAGE...: installs Debian packages when the command is missing and this user may.
need_package() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        die "$command is missing: install it (on Debian: apt-get install $*)"
    fi
    say "installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

has_postgresql() {
    local programs
    # Debian keeps initdb and pgbench out of PATH.
    programs=$(printf '%s:' /usr/lib/postgresql/*/bin)$PATH
    for program in psql pgbench initdb; do
        PATH=$programs command -v "$program" >/dev/null || return 1
    done
}

# psql and pgbench, and a PostgreSQL to compare with. Debian would start a database of its own beside it, which nobody asked for.
need_postgresql() {
    has_postgresql && return
    need_package pg_lsclusters postgresql-common
    sed -i "s/^#\?create_main_cluster.*/create_main_cluster = false/" /etc/postgresql-common/createcluster.conf
    say "installing postgresql"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql postgresql-client >/dev/null
    has_postgresql || die "PostgreSQL's psql, pgbench and initdb are missing even so"
}

need_rust() {
    command -v cargo >/dev/null || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || die "cargo is missing: install Rust 1.92 or newer (https://rustup.rs)"
    need_package cc gcc libc6-dev
}

need_nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    say "installing cargo-nextest (some minutes, once)"
    cargo install --locked --quiet cargo-nextest
}

need_cargo_fuzz() {
    cargo fuzz --version >/dev/null 2>&1 && return
    say "installing cargo-fuzz (some minutes, once)"
    cargo install --locked --quiet cargo-fuzz
}
