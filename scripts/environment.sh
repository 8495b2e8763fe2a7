# shellcheck shell=bash
# Sourced by the scripts beside it: finds Python, makes .venv in the repository, installs into it when something changed.
# Works from any folder, as root or not, and needs nothing from HOME.

set -euo pipefail

repository="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)"
venv="$repository/.venv"
venv_python="$venv/bin/python"
python="" # set by find_python
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if is_new_enough "$candidate"; then
            python="$candidate"
            return
        fi
    done
    fail "needs Python 3.11 or later, found $(python3 --version 2>/dev/null || echo 'no python3'): install it (Debian 12 and Ubuntu 24.04 have it)"
}

# Debian keeps ensurepip, without which no virtual environment can be made, in a package of its own.
has_venv() { "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

venv_package() { "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'; }

# How to become root without asking: "" as root, "sudo -n" where that works; fails otherwise.
root_prefix() {
    if [ "$(id -u)" = 0 ]; then
        echo ""
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        echo "sudo -n"
    else
        return 1
    fi
}

# Installs packages of the system; fails without harm where that may not be done.
install_packages() {
    local prefix
    command -v apt-get >/dev/null || return 1
    prefix="$(root_prefix)" || return 1
    say "Installing $* with apt-get"
    # shellcheck disable=SC2086  # an empty prefix must vanish
    $prefix apt-get update -qq >&2 && $prefix env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >&2
}

make_venv() {
    if "$venv_python" -m pip --version >/dev/null 2>&1 && is_new_enough "$venv_python"; then
        return
    fi
    find_python
    if ! has_venv; then
        fail "Python's venv is missing; install it with: sudo apt-get install $(venv_package)"
    fi
    [ -w "$repository" ] || fail "cannot write to $repository; run as its owner, or clone it somewhere else"
    "$python" -m venv --clear "$venv" || fail "could not make $venv"
}

# What an installation depends on. The path counts, because installed commands name it.
fingerprint() {
    {
        echo "$repository"
        cat "$repository/pyproject.toml" "$repository/constraints.txt"
    } | sha256sum | cut -d' ' -f1
}

# install_edge EXTRAS: the package, editable, with extras such as "test"; nothing is done where nothing changed.
install_edge() {
    local extras="$1" stamp wanted
    make_venv
    stamp="$venv/.installed-${extras:-edge}"
    wanted="$(fingerprint)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    say "Installing edge into $venv (about a minute the first time)"
    (
        cd "$repository"
        # pip builds the package in an environment of its own, which -c does not reach: old pips read the first, new ones
        # the second. Both are lists parted by blanks, so a path with a blank goes without.
        case "$repository" in
            *[[:space:]]*) ;;
            *) export PIP_CONSTRAINT="$repository/constraints.txt" PIP_BUILD_CONSTRAINT="$repository/constraints.txt" ;;
        esac
        "$venv_python" -m pip install --quiet -c constraints.txt -e ".${extras:+[$extras]}" >&2
    ) || fail "pip could not install the packages (see above); the first run needs the network"
    echo "$wanted" >"$stamp"
}
