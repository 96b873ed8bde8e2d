#!/usr/bin/env bash
# Installs Kubeflow Pipelines with its own Argo, database and S3 (SeaweedFS) in the namespace kubeflow.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"

KFP_COMMIT=$(locked kfp commit)
say "installing Kubeflow Pipelines $(locked kfp version) ($KFP_COMMIT)"
run kubectl apply -k "github.com/kubeflow/pipelines/manifests/kustomize/cluster-scoped-resources?ref=$KFP_COMMIT"
established applications.app.k8s.io
run kubectl apply -k "github.com/kubeflow/pipelines/manifests/kustomize/env/platform-agnostic?ref=$KFP_COMMIT"
run kubectl -n kubeflow wait deployment --all --for=condition=Available --timeout=900s
