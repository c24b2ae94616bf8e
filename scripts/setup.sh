#!/usr/bin/env bash
# Makes .venv with Kinefuse and the named extras, and the system packages that the viewer needs.
#
#   scripts/setup.sh all            what `make demo` does
#   scripts/setup.sh all,dev,learning,raw-radar   what `make test` does; with torch, a CPU build unless an NVIDIA GPU is there
set -euo pipefail
cd "$(dirname "$0")/.."
extras=${1:-all}
stamp=.venv/.extras

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3.12 python3.11 python3.13 python; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "Kinefuse needs Python 3.11 or newer; none found. Name one: make PYTHON=/path/to/python3.11 demo" >&2
    exit 2
}

missing_apt_packages() {
    local package
    for package in $(grep -v '^#' scripts/apt-packages.txt); do
        # libglib2.0-0 is called libglib2.0-0t64 on newer releases.
        [[ $(dpkg-query -W -f='${Status}\n' "$package" "${package}t64" 2>/dev/null) == *"ok installed"* ]] || echo "$package"
    done
}

install_apt_packages() {
    command -v apt-get >/dev/null || return 0
    local missing sudo=()
    missing=$(missing_apt_packages)
    # A venv that can be made needs no python3-venv.
    "$(find_python)" -c 'import ensurepip' 2>/dev/null && missing=$(grep -vx python3-venv <<<"$missing" || true)
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            printf 'These packages are missing and need an administrator (the viewer will not open without them):\n  sudo apt-get install %s\n' \
                "$(tr '\n' ' ' <<<"$missing")" >&2
            return 0
        fi
        sudo=(sudo -n)
    fi
    "${sudo[@]}" apt-get update -q || echo "apt-get update failed; going on with the lists that are there" >&2
    # shellcheck disable=SC2086
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing ||
        printf 'apt-get could not install: %s\n' "$(tr '\n' ' ' <<<"$missing")" >&2
}

install_python_packages() {
    [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
    local wanted
    wanted="$extras $(cat pyproject.toml scripts/constraints.txt | cksum)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return 0
    fi
    if [[ ",$extras," == *,learning,* ]] && ! command -v nvidia-smi >/dev/null; then
        # PyTorch's own index has CPU builds; where it cannot be reached, what the usual index has will do.
        .venv/bin/python -m pip install -q --retries 1 --timeout 15 -c scripts/constraints.txt \
            --extra-index-url https://download.pytorch.org/whl/cpu torch
    fi
    .venv/bin/python -m pip install -q -c scripts/constraints.txt -e ".[$extras]"
    echo "$wanted" >"$stamp"
}

install_apt_packages
install_python_packages
