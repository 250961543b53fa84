# shellcheck shell=bash
# What the scripts share: messages, the user's cache folder, Python and pip. Sourced, never run.

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# The folder where anychip's scripts keep what they download.
downloads() {
  local base="${XDG_CACHE_HOME:-}"
  case "$base" in
    /*) ;;
    *) base="${HOME:?neither XDG_CACHE_HOME nor HOME says where your cache folder is}/.cache" ;;
  esac
  printf '%s/anychip' "$base"
}

# A toolchain that rustup has just installed is not yet on the PATH of this shell.
need_cargo() {
  command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin"
  command -v cargo >/dev/null ||
    die "cargo is missing. Install a Rust toolchain first: https://rustup.rs"
}

python() {
  local candidate
  for candidate in python3 python; do
    if "$candidate" -c 'import sys, zipfile; sys.exit(sys.version_info < (3,))' 2>/dev/null; then
      command "$candidate" "$@"
      return
    fi
  done
  die "Python 3 is missing. On Debian or Ubuntu: apt-get install python3 python3-pip"
}

# pip as a module, or as a program of its own; `download` also works where Python is externally managed.
pip_download() {
  local pip
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=0 PIP_NO_INPUT=1
  for pip in "python3 -m pip" pip3 pip "python -m pip"; do
    # shellcheck disable=SC2086  # two words on purpose
    if command $pip --version >/dev/null 2>&1; then
      command $pip download --quiet --no-deps --only-binary :all: "$@" >&2
      return
    fi
  done
  die "Python's pip is missing. On Debian or Ubuntu: apt-get install python3-pip"
}

sha256_of() {
  if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

# Is every named Debian package installed? Prints those that are not.
missing_packages() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
  done
}

# Installs Debian packages when it may; otherwise says what to do and fails.
install_packages() {
  local missing log
  command -v dpkg-query >/dev/null || { say "This is not Debian or Ubuntu: install what corresponds to $*"; return 1; }
  missing=$(missing_packages "$@" | paste -sd ' ')
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    say "Missing packages; as root run: apt-get install --no-install-recommends $missing"
    return 1
  fi
  say "Installing $missing"
  log=$(mktemp)
  # shellcheck disable=SC2086  # a list of words
  if {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 update &&
      DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
  } </dev/null >"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 20 "$log" >&2
    rm -f "$log"
    say "apt-get could not install $missing"
    return 1
  fi
}
