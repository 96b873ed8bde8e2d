#!/usr/bin/env bash
# Creates the kind cluster.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

DIGEST=$(locked node digest)
IMAGE=$(locked node image)${DIGEST:+@$DIGEST}
if ! dry && cluster_exists; then
  say "cluster $CLUSTER exists"
  run kind export kubeconfig --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
else
  say "creating a cluster of three nodes, $IMAGE"
  run kind create cluster --config "$K8S/kind/cluster.yaml" --image "$IMAGE" --kubeconfig "$KUBECONFIG" --wait 300s
fi
run kubectl wait node --all --for=condition=Ready --timeout=300s
