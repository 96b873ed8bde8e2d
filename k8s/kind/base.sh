#!/usr/bin/env bash
# What xstilts needs in the namespace kubeflow. PodSecurity warns of pods that are not `restricted`; it cannot enforce, since
# the namespace is KFP's too.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

say "accounts, roles, quota, network policies, clean-up"
run kubectl label namespace kubeflow --overwrite pod-security.kubernetes.io/warn=restricted pod-security.kubernetes.io/audit=restricted
run kubectl apply --server-side --force-conflicts -k "$K8S/overlays/kind"
