#!/usr/bin/env bash
# Which cluster this is, what it has, and what you may do there. Changes nothing.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

say "the cluster"
run kubectl config current-context
run kubectl version
say "GPUs that its nodes offer (none: install NVIDIA's GPU operator first)"
run kubectl get nodes -o "custom-columns=NODE:.metadata.name,GPU:.metadata.labels.nvidia\.com/gpu\.product,COUNT:.status.allocatable.nvidia\.com/gpu"
say "a default storage class (KFP's database and S3 need volumes)"
run kubectl get storageclass
say "may you install cluster-wide things?"
run kubectl auth can-i create clusterroles
run kubectl auth can-i create customresourcedefinitions
