# shellcheck shell=bash
# For the scripts of this folder to source: they say what they do. With DRY_RUN=1 they only say it.

K8S=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '== %s\n' "$*" >&2; }

stop() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Prints a command and runs it. Never given a secret: those go through standard input.
run() {
  printf '+ %s\n' "$*" >&2
  if [ -z "${DRY_RUN:-}" ]; then
    "$@"
  elif [ -p /dev/stdin ]; then
    cat >/dev/null    # whoever writes to the command must not find the pipe shut
  fi
}

# locked KEY FIELD: a value of versions.lock; empty where it is null.
locked() {
  python3 -IS -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]][sys.argv[3]] or "")' \
    "$K8S/versions.lock" "$1" "$2"
}

# fetched KEY FILE: downloads the url of KEY in versions.lock, and refuses bytes that are not the locked ones.
fetched() {
  local want got
  run curl --fail --silent --show-error --location --output "$2" "$(locked "$1" url)"
  [ -z "${DRY_RUN:-}" ] || return 0
  want=$(locked "$1" sha256)
  got=$(sha256sum "$2" | cut -d' ' -f1)
  if [ -z "$want" ]; then
    say "no checksum of $1 is locked; these bytes have $got: look at $2, then write that into k8s/versions.lock"
  elif [ "$want" != "$got" ]; then
    rm -f "$2"
    stop "$1: the download has sha256 $got, k8s/versions.lock says $want; do not install it"
  fi
}
