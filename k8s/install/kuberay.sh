#!/usr/bin/env bash
# KubeRay's operator and its CRDs. Applied by the server: the CRDs are too long for a client's annotation.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"

COMMIT=$(locked kuberay commit)
say "KubeRay $(locked kuberay version) ($COMMIT)"
run kubectl apply --server-side --force-conflicts -k "github.com/ray-project/kuberay/ray-operator/config/default?ref=$COMMIT"
run kubectl wait crd/rayjobs.ray.io --for=condition=established --timeout=60s
run kubectl -n default wait deployment/kuberay-operator --for=condition=Available --timeout=300s
