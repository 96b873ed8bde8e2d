#!/usr/bin/env bash
# Labels the nodes of the pool (all nodes with a GPU), and the namespace that may use the queue.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

GPU=nvidia.com/gpu.present=true
say "labeling nodes and namespace"
if ! dry && [ -z "$(kubectl get nodes -l "$GPU" -o name)" ]; then
  [ -n "$(kubectl get nodes -l xstilts.dev/pool=gpu -o name)" ] || stop "no node has the label $GPU, which NVIDIA's GPU operator sets: install it, or label the nodes of the pool: kubectl label node NODE xstilts.dev/pool=gpu"
  say "no node has the label $GPU; the pool is the nodes that you labeled xstilts.dev/pool=gpu"
else
  run kubectl label node -l nvidia.com/gpu.present=true --overwrite xstilts.dev/pool=gpu
fi
run kubectl label namespace "$NAMESPACE" --overwrite xstilts.dev/queue=xstilts
for mode in warn audit; do    # settings of an administrator are kept
  if dry || [ -z "$(kubectl get namespace "$NAMESPACE" -o "jsonpath={.metadata.labels.pod-security\.kubernetes\.io/$mode}")" ]; then
    run kubectl label namespace "$NAMESPACE" "pod-security.kubernetes.io/$mode=restricted"
    run kubectl annotate namespace "$NAMESPACE" --overwrite "xstilts.dev/pod-security-$mode=set by k8s/guide/nodes.sh"
  fi
done
