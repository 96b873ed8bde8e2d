#!/usr/bin/env bash
# make kind-down: the cluster and all that is in it.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

if cluster_exists; then
  say "deleting the cluster $CLUSTER"
  run kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
else
  say "there is no cluster $CLUSTER"
fi
run rm -f "$KUBECONFIG"
