#!/usr/bin/env bash
# A plan's data and models into s3://BUCKET/MIRROR, from the hub or from FROM: k8s/guide/mirror.sh PLAN [FROM].
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

PLAN=${1:?usage: k8s/guide/mirror.sh PLAN [FROM]}
FROM=${2:-hub}
run "$XSTILTS" mirror pull "s3://$BUCKET/$MIRROR" --plan "$PLAN" --from "$FROM"
