#!/usr/bin/env bash
# Checks the requirements of a kind cluster, and reports all that are missing, each with what to do.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

PROC=${PROC:-/proc}
FAILED=0

wrong() {
  printf 'missing: %s\n   do: %s\n' "$1" "$2" >&2
  FAILED=1
}

tool() { command -v "$1" >/dev/null || wrong "$1 is not installed" "$2"; }

# at_least NAME HAVE WANT UNIT ADVICE
at_least() {
  local unit=${4:+ $4}
  if [ "$2" -lt "$3" ]; then wrong "$1: $2$unit, needed $3$unit" "$5"; else printf 'ok: %s: %s%s\n' "$1" "$2" "$unit"; fi
}

say "tools"
tool docker "install Docker (https://docs.docker.com/engine/install), and add yourself to its group"
tool kind "install kind $(locked kind version) (https://kind.sigs.k8s.io/docs/user/quick-start/#installation)"
tool kubectl "install kubectl 1.33 or newer (https://kubernetes.io/docs/tasks/tools), or: make setup"
tool curl "install curl"
tool git "install git: kubectl uses it to fetch KFP's and KubeRay's manifests"
ROOT=""
if ! dry && command -v docker >/dev/null; then
  ROOT=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null) || wrong "Docker's engine does not answer" \
    "start it (sudo systemctl start docker), and check that 'docker info' works without sudo"
fi

say "limits of this machine"
at_least "inotify instances" "$(cat "$PROC/sys/fs/inotify/max_user_instances")" 1280 "" \
  "sudo sysctl fs.inotify.max_user_instances=1280"
at_least "inotify watches" "$(cat "$PROC/sys/fs/inotify/max_user_watches")" 655360 "" \
  "sudo sysctl fs.inotify.max_user_watches=655360"
at_least "processors" "$(nproc)" 4 "" "use a machine with 4 or more: KFP, Ray and the steps share them"
at_least "free memory" "$(awk '/^MemAvailable:/ {print int($2 / 1048576)}' "$PROC/meminfo")" 14 GiB \
  "close programs, or give Docker's virtual machine more memory"
if [ -d "$ROOT" ]; then
  at_least "free disk under $ROOT" "$(df --output=avail -BG "$ROOT" | tail -1 | tr -dc 0-9)" 60 GiB \
    "docker system prune, or move Docker's data-root to a bigger disk"
elif [ -n "$ROOT" ]; then
  say "disk: $ROOT is not on this machine (Docker Desktop?); check that it has 60 GiB"
fi

if [ "$FAILED" -ne 0 ]; then
  dry || stop "this machine does not meet the requirements of the kind cluster; see the list above"
  say "dry run: continuing anyway"
fi
