# shellcheck shell=bash
# Sourced by the scripts of this folder: they print each command before they run it. With DRY_RUN=1 they only print: they
# call no program that reaches a cluster, a registry or a cloud, and write no file.

K8S=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '== %s\n' "$*" >&2; }

stop() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# dry: whether only to print. What a script would look up is then as on a machine where it does all of its work.
dry() { [ -n "${DRY_RUN:-}" ]; }

# Prints a command and runs it. Never pass a secret to it: secrets go through standard input.
run() {
  printf '+ %s\n' "$*" >&2
  if ! dry; then
    "$@"
  elif [ -p /dev/stdin ]; then
    cat >/dev/null    # the writer of the pipe must not get a broken pipe
  fi
}

# locked KEY FIELD: a value of versions.lock; empty where it is null.
locked() {
  python3 -IS -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]][sys.argv[3]] or "")' \
    "$K8S/versions.lock" "$1" "$2"
}

# fetched KEY FILE: downloads the url of KEY in versions.lock, and fails on a checksum mismatch.
fetched() {
  local want got
  run curl --fail --silent --show-error --location --output "$2" "$(locked "$1" url)"
  ! dry || return 0
  want=$(locked "$1" sha256)
  got=$(sha256sum "$2" | cut -d' ' -f1)
  if [ -z "$want" ]; then
    say "no checksum of $1 is locked; the download has sha256 $got: inspect $2, then write it to k8s/versions.lock"
  elif [ "$want" != "$got" ]; then
    rm -f "$2"
    stop "$1: checksum mismatch: the download has sha256 $got, k8s/versions.lock has $want; do not install it"
  fi
}

# repeated SECONDS COMMAND…: as run, until the command succeeds.
repeated() {
  local deadline=$((SECONDS + $1))
  shift
  printf '+ %s\n' "$*" >&2
  ! dry || return 0
  until "$@"; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 1
  done
}

# established CRD: waits until a CRD is served. A new one has no conditions yet, on which `kubectl wait` fails at once.
established() { repeated 60 kubectl wait "crd/$1" --for=condition=established --timeout=60s; }

# mutates: whether the API server has MutatingAdmissionPolicies, as Kubernetes 1.36 has.
mutates() {
  ! dry || return 0
  case "$(kubectl get --raw /apis/admissionregistration.k8s.io/v1 2>/dev/null)" in
    *'"mutatingadmissionpolicies"'*) return 0 ;;
    *) return 1 ;;
  esac
}
