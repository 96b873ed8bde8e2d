#!/usr/bin/env bash
# Without a role: copies AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of this shell into the Secret xstilts-s3, through
# standard input.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

[ -z "$ROLE_ARN" ] || stop "ROLE_ARN is set, so the pods get keys from their role; a Secret would override it"
dry || { [ -n "${AWS_ACCESS_KEY_ID:-}" ] && [ -n "${AWS_SECRET_ACCESS_KEY:-}" ]; } || stop "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY first"
say "creating the Secret xstilts-s3 in $NAMESPACE"
secret() {
  python3 -c '
import json, os, sys
labels = {"app.kubernetes.io/part-of": "xstilts"}
keys = {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
metadata = {"name": "xstilts-s3", "namespace": sys.argv[1], "labels": labels}
print(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys}))
' "$NAMESPACE"
}
if dry; then secret() { :; }; fi    # the keys need not be set
secret | run kubectl apply --server-side -f -
