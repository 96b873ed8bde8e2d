#!/usr/bin/env bash
# For a cluster that cannot reach the hub: a plan's data and models, from this machine into s3://BUCKET/MIRROR.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

PLAN=${1:?usage: k8s/guide/mirror.sh PLAN}
run "$XSTILTS" mirror pull "s3://$BUCKET/$MIRROR" --plan "$PLAN"
