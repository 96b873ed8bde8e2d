#!/usr/bin/env bash
# Labels the nodes of the pool (all nodes with a GPU), and the namespace that may use the queue.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

say "labeling nodes and namespace"
run kubectl label node -l nvidia.com/gpu.present=true --overwrite xstilts.dev/pool=gpu
run kubectl label namespace "$NAMESPACE" --overwrite xstilts.dev/queue=xstilts
run kubectl label namespace "$NAMESPACE" --overwrite pod-security.kubernetes.io/warn=restricted pod-security.kubernetes.io/audit=restricted
