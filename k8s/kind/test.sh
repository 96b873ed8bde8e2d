#!/usr/bin/env bash
# make kind-test: runs pipelines/plans/kind.yaml on the kind cluster and checks its report. Copies the miniature to the
# cluster's own S3 first. A second run reuses the finished steps of the first.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

PLAN=$REPOSITORY/pipelines/plans/kind.yaml
OUT=${OUT:-$REPOSITORY/runs/kind}
HOST=http://127.0.0.1:8888
export AWS_ENDPOINT_URL=http://127.0.0.1:8333 AWS_REGION=us-east-1
STORE=s3://xstilts/store
MINIATURE=$WORK/miniature

dry || cluster_exists || stop "cluster $CLUSTER does not exist: run make kind-up"

of_secret() { kubectl -n kubeflow get secret xstilts-s3 -o go-template="{{index .data \"$1\" | base64decode}}"; }
if ! dry; then
  AWS_ACCESS_KEY_ID=$(of_secret AWS_ACCESS_KEY_ID)
  AWS_SECRET_ACCESS_KEY=$(of_secret AWS_SECRET_ACCESS_KEY)
  export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
fi

FORWARDS=()
trap '[ "${#FORWARDS[@]}" -eq 0 ] || kill "${FORWARDS[@]}" 2>/dev/null || true' EXIT

# forward SERVICE PORT: forwards a service to a local port. kubectl exits when a connection breaks, so it is restarted.
forward() {
  printf '+ kubectl -n kubeflow port-forward svc/%s %s:%s &\n' "$1" "$2" "$2" >&2
  ! dry || return 0
  (
    trap 'kill "$CHILD" 2>/dev/null; exit 0' TERM
    while true; do
      kubectl -n kubeflow port-forward "svc/$1" "$2:$2" >>"$WORK/forward-$1.log" 2>&1 &
      CHILD=$!
      wait "$CHILD" || sleep 1
    done
  ) &
  FORWARDS+=($!)
}

say "forwarding KFP's API and S3 to local ports 8888 and 8333"
forward ml-pipeline 8888
forward seaweedfs 8333
run curl --fail --silent --show-error --output /dev/null --retry 60 --retry-delay 2 --retry-all-errors "$HOST/apis/v2beta1/healthz"
run curl --silent --show-error --output /dev/null --retry 60 --retry-delay 2 --retry-all-errors "$AWS_ENDPOINT_URL/status"

say "copying the miniature to s3://xstilts/miniature"
[ -d "$MINIATURE" ] || run "$XSTILTS" mirror miniature "$MINIATURE"
run "${XSTILTS%/*}/rclone" copy "$MINIATURE" :s3:xstilts/miniature --s3-provider Other --s3-env-auth --s3-no-check-bucket --s3-endpoint "$AWS_ENDPOINT_URL"

say "submitting the run and waiting for it"
LOG=$WORK/submit.log
! dry || LOG=/dev/null
run "$XSTILTS" submit "$PLAN" --host "$HOST" --store "$STORE" --mirror s3://xstilts/miniature --settings "$K8S/kind/settings.yaml" --allow-unlocked --wait | tee "$LOG"
NAME=$(sed -n 's/^\([^ ]*\): submitted.*/\1/p' "$LOG" | head -1)
[ -n "$NAME" ] || dry || stop "submit printed no line 'NAME: submitted'; see $LOG"

say "checking the report"
run "$XSTILTS" report "${NAME:-NAME}" --store "$STORE" --out "$OUT"
run "${XSTILTS%/*}/python" "$K8S/kind/check_report.py" "$PLAN" "$OUT/report"
