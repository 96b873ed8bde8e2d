#!/usr/bin/env bash
# Shows the current cluster, what it offers, and your permissions. Changes nothing.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

say "current cluster"
run kubectl config current-context
run kubectl version
say "GPUs of its nodes (if there are none, install NVIDIA's GPU operator first)"
run kubectl get nodes -o "custom-columns=NODE:.metadata.name,GPU:.metadata.labels.nvidia\.com/gpu\.product,COUNT:.status.allocatable.nvidia\.com/gpu"
say "storage classes (KFP's database and S3 need a default one)"
run kubectl get storageclass
say "permission to install cluster-wide resources"
run kubectl auth can-i create clusterroles
run kubectl auth can-i create customresourcedefinitions
