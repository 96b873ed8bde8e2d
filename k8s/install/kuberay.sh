#!/usr/bin/env bash
# Installs KubeRay's operator and its CRDs, server-side: the CRDs are too long for the annotation of a client-side apply.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"

KUBERAY_COMMIT=$(locked kuberay commit)
say "installing KubeRay $(locked kuberay version) ($KUBERAY_COMMIT)"
run kubectl apply --server-side --force-conflicts -k "github.com/ray-project/kuberay/ray-operator/config/default?ref=$KUBERAY_COMMIT"
established rayjobs.ray.io
run kubectl -n default wait deployment/kuberay-operator --for=condition=Available --timeout=300s
