#!/usr/bin/env bash
# Deletes what base.sh applied, and the queue. The store, KFP, KubeRay and Kueue are kept.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

say "deleting our RayJobs in $NAMESPACE, then the rest"
run kubectl -n "$NAMESPACE" delete rayjob -l app.kubernetes.io/part-of=xstilts --ignore-not-found
run kubectl delete -f "$SITE/built.yaml" --ignore-not-found
run kubectl delete -k "$K8S/components/kueue/cluster" --ignore-not-found
