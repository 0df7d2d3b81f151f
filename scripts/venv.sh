#!/bin/sh
# Makes a virtual environment with pip, also where Python came without venv's parts (a bare Debian has neither ensurepip nor pip).
# Usage: scripts/venv.sh DIRECTORY          PYTHON=/path/to/python chooses the interpreter; it must be 3.11 or newer.
# Nothing outside DIRECTORY changes, except that root on Debian gets the package pythonX.Y-venv.
set -eu
venv=$1

say() { echo "venv: $*" >&2; }

works() { "$venv/bin/python" -m pip --version >/dev/null 2>&1; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

choose_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        # what a shim, a wrapper or a relative name stands for, so that the environment does not depend on it
        if is_new_enough "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    say "Python 3.11 or newer is needed and ${PYTHON:-python3} is not it."
    say "Install one (Debian: apt-get install python3; macOS: brew install python), or name it: make PYTHON=/path/to/python3.12"
    return 1
}

# 1. the ordinary way
with_ensurepip() { "$python" -c 'import ensurepip' 2>/dev/null && "$python" -m venv --clear "$venv" >/dev/null 2>&1; }

# 2. another program that brings its own pip
with_other_program() {
    if command -v uv >/dev/null; then
        uv venv --quiet --clear --seed --python "$python" "$venv"
    elif command -v virtualenv >/dev/null; then
        virtualenv --quiet --clear --python "$python" "$venv"
    else
        return 1
    fi
}

is_debian() { command -v apt-get >/dev/null && command -v dpkg >/dev/null; }

# 3. root on Debian: the package that Debian split off
with_debian_package() {
    is_debian && [ "$(id -u)" = 0 ] || return 1
    package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    say "installing $package ..."
    install="env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $package ca-certificates"
    { $install || { apt-get update -qq && $install; }; } >/dev/null 2>"$temporary/apt.log" || { cat "$temporary/apt.log" >&2; return 1; }
    with_ensurepip
}

# 4. anyone else on Debian: pip's wheel out of Debian's package, unpacked in a temporary directory
with_unpacked_pip() {
    is_debian || return 1
    say "fetching pip from Debian's packages, for this environment alone ..."
    mkdir -p "$temporary/lists/partial" "$temporary/cache/archives/partial" "$temporary/root"
    own="-o Dir::State::Lists=$temporary/lists -o Dir::Cache=$temporary/cache"
    (
        cd "$temporary"
        # shellcheck disable=SC2086 # a list of options
        apt-get download -qq python3-pip-whl ca-certificates 2>apt.log || {
            apt-get update -qq $own 2>apt.log && apt-get download -qq $own python3-pip-whl ca-certificates 2>>apt.log
        } || { cat apt.log >&2; exit 1; }
        for package in *.deb; do dpkg -x "$package" root; done
    ) || return 1
    "$python" -m venv --clear --without-pip "$venv"
    for wheel in "$temporary"/root/usr/share/python-wheels/pip-*.whl; do
        "$venv/bin/python" "$wheel/pip" --disable-pip-version-check install --quiet --no-index "$wheel" || return 1
    done
    # Debian's pip trusts the system's certificates alone; a machine without any gets Debian's, for this environment
    if [ ! -e /etc/ssl/certs/ca-certificates.crt ] && [ -z "${PIP_CERT:-}" ]; then
        certificates="$(cd "$venv" && pwd)/ca-certificates.crt"
        cat "$temporary"/root/usr/share/ca-certificates/mozilla/*.crt >"$certificates"
        printf '[global]\ncert = %s\n' "$certificates" >"$venv/pip.conf"
    fi
}

works && exit
if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
    say "$venv exists and is no virtual environment; move it away and try again."
    exit 1
fi
python=$(choose_python)
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
for way in with_ensurepip with_other_program with_debian_package with_unpacked_pip; do
    if $way && works; then
        exit 0
    fi
done
say "$python cannot make a virtual environment with pip, and no other way worked."
say "Install its venv package (Debian, Ubuntu: sudo apt-get install python3-venv), or uv, or virtualenv; then try again."
exit 1
