#!/usr/bin/env bash
# Installs Kueue, and our flavors, queue and priorities for the whole cluster.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"

say "installing Kueue $(locked kueue version)"
MANIFESTS=$(mktemp)
trap 'rm -f "$MANIFESTS"' EXIT
fetched kueue "$MANIFESTS"
run kubectl apply --server-side --force-conflicts -f "$MANIFESTS"
run kubectl -n kueue-system wait deployment/kueue-controller-manager --for=condition=Available --timeout=300s
# Its webhooks answer a moment after its pod is ready.
repeated 120 kubectl apply --server-side -k "$K8S/components/kueue/cluster"
