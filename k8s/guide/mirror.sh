#!/usr/bin/env bash
# Copies a plan's data and models to s3://BUCKET/MIRROR: k8s/guide/mirror.sh PLAN [FROM]. FROM is hub (default), miniature,
# a folder, or s3://…
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

[ $# -ge 1 ] || stop "usage: k8s/guide/mirror.sh PLAN [FROM]"
PLAN=$1
FROM=${2:-hub}
MINIATURE=${MINIATURE:-$REPOSITORY/.xstilts/miniature-of-guide}
if [ "$FROM" = miniature ]; then
  FROM=$MINIATURE
  [ -d "$MINIATURE" ] || run "$XSTILTS" mirror miniature "$MINIATURE"
fi
run "$XSTILTS" mirror pull "s3://$BUCKET/$MIRROR" --plan "$PLAN" --from "$FROM"
