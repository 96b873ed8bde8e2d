#!/usr/bin/env bash
# Submits a plan on the data of mirror.sh, waits until it ends and downloads its report: k8s/guide/run.sh PLAN [MIRROR].
# SETTINGS=FILE: settings of the cluster (docs/kubeflow.md).
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

[ $# -ge 1 ] || stop "usage: k8s/guide/run.sh PLAN [MIRROR]"
PLAN=$1
DATA=${2:-s3://$BUCKET/$MIRROR}
OUT=${OUT:-$REPOSITORY/runs/$(basename "$PLAN" .yaml)}
HOST=http://127.0.0.1:8888
LOG=$(mktemp)

say "forwarding KFP's API to local port 8888"
FORWARD=
printf '+ kubectl -n kubeflow port-forward svc/ml-pipeline 8888:8888 &\n' >&2
if ! dry; then
  kubectl -n kubeflow port-forward svc/ml-pipeline 8888:8888 >/dev/null &
  FORWARD=$!
fi
trap '[ -z "$FORWARD" ] || kill "$FORWARD" 2>/dev/null || true; rm -f "$LOG"' EXIT
run curl --fail --silent --show-error --output /dev/null --retry 60 --retry-delay 2 --retry-all-errors "$HOST/apis/v2beta1/healthz"

say "checking the cluster"
run "$XSTILTS" doctor --cluster --namespace "$NAMESPACE"
say "submitting the run and waiting for it"
USERS=()
[ "$NAMESPACE" = kubeflow ] || USERS=(--namespace "$NAMESPACE")    # only a multi-user KFP has namespaces
OPTIONS=()
[ -z "${SETTINGS:-}" ] || OPTIONS=(--settings "$SETTINGS")
run "$XSTILTS" submit "$PLAN" --host "$HOST" --store "$STORE" --mirror "$DATA" "${USERS[@]}" "${OPTIONS[@]}" --wait | tee "$LOG"
NAME=$(sed -n 's/^\([^ ]*\): submitted.*/\1/p' "$LOG" | head -1)
[ -n "$NAME" ] || dry || stop "submit printed no line 'NAME: submitted'; see its output above"
run "$XSTILTS" report "${NAME:-NAME}" --store "$STORE" --out "$OUT"
say "report: $OUT/report/report.html"
