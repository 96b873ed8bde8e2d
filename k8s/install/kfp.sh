#!/usr/bin/env bash
# Installs Kubeflow Pipelines with its own Argo, database and S3 (SeaweedFS) in the namespace kubeflow.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"

KFP=github.com/kubeflow/pipelines/manifests/kustomize
COMMIT=$(locked kfp commit)
say "installing Kubeflow Pipelines $(locked kfp version) ($COMMIT)"
run kubectl apply -k "$KFP/cluster-scoped-resources?ref=$COMMIT"
established applications.app.k8s.io
run kubectl apply -k "$KFP/env/platform-agnostic?ref=$COMMIT"
run kubectl -n kubeflow wait deployment --all --for=condition=Available --timeout=900s
