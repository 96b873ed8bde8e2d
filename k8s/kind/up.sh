#!/usr/bin/env bash
# make kind-up: a kind cluster with KFP, KubeRay, KFP's own S3, our base and our images. It can be run again at any time;
# what exists is kept.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

"$K8S/kind/check.sh"
"$K8S/kind/cluster.sh"
"$K8S/install/kfp.sh"
"$K8S/install/kuberay.sh"
"$K8S/kind/s3.sh"
"$K8S/kind/base.sh"
"$K8S/kind/images.sh"
say "ready: make kind-test runs pipelines/plans/kind.yaml; kubectl needs KUBECONFIG=$KUBECONFIG"
