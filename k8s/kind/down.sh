#!/usr/bin/env bash
# make kind-down: deletes the cluster and everything in it.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

if dry || cluster_exists; then
  say "deleting cluster $CLUSTER"
  run kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
else
  say "cluster $CLUSTER does not exist"
fi
run rm -f "$KUBECONFIG"
