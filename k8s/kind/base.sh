#!/usr/bin/env bash
# Installs what xstilts needs in the namespace kubeflow. PodSecurity only warns about pods that are not `restricted`: KFP's
# own pods in this namespace are not.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

say "installing service accounts, roles, quota, network policies, clean-up"
run kubectl label namespace kubeflow --overwrite pod-security.kubernetes.io/warn=restricted pod-security.kubernetes.io/audit=restricted
run kubectl apply --server-side --force-conflicts -k "$K8S/overlays/kind"
