#!/usr/bin/env bash
# Prints the variables of the commands in docs/cluster.md, from site.env and versions.lock: eval "$(k8s/guide/variables.sh)".
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

# shellcheck disable=SC2034
KFP_COMMIT=$(locked kfp commit) KUBERAY_COMMIT=$(locked kuberay commit) KUEUE=$(locked kueue url)
for name in K8S REPOSITORY XSTILTS SITE NAMESPACE BUCKET MIRROR REGISTRY TAG STORE AWS_REGION AWS_ENDPOINT_URL KFP_COMMIT KUBERAY_COMMIT KUEUE; do
  [ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
done
