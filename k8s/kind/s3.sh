#!/usr/bin/env bash
# Creates a bucket for the store in KFP's own S3, and a user that can read and write only this bucket. Its keys are generated
# once, kept in the Secret xstilts-s3, and passed through standard input only.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

drawn() { python3 -IS -c 'import secrets; print(secrets.token_hex(int('"$1"')))'; }
of_secret() { kubectl -n kubeflow get secret xstilts-s3 -o go-template="{{index .data \"$1\" | base64decode}}" 2>/dev/null; }

if ! dry && ID=$(of_secret AWS_ACCESS_KEY_ID) && KEY=$(of_secret AWS_SECRET_ACCESS_KEY) && [ -n "$ID" ] && [ -n "$KEY" ]; then
  say "Secret xstilts-s3 exists"
else
  say "creating the Secret xstilts-s3 with new keys"
  ID=$(drawn 10) KEY=$(drawn 20)
  {
    printf '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "xstilts-s3", "namespace": "kubeflow", '
    printf '"labels": {"app.kubernetes.io/part-of": "xstilts"}}, "stringData": '
    printf '{"AWS_ACCESS_KEY_ID": "%s", "AWS_SECRET_ACCESS_KEY": "%s"}}\n' "$ID" "$KEY"
  } | run kubectl apply --server-side -f -
fi

# The shell always exits with status 0, so its output is checked.
buckets() { printf 's3.bucket.list\n' | kubectl -n kubeflow exec -i deployment/seaweedfs -- /usr/bin/weed shell; }
has_bucket() { buckets | grep -wF xstilts >/dev/null; }

say "creating bucket and user in SeaweedFS"
CREATE=
if dry || ! has_bucket; then CREATE=yes; fi
# By default a bucket takes seven volumes at its first write, and this server has eight for all buckets. The output of the
# shell contains the keys, so it is discarded.
{
  if [ -n "$CREATE" ]; then
    printf 'fs.configure -locationPrefix=/buckets/ -volumeGrowthCount=1 -apply\n'
    printf 's3.bucket.create --name xstilts\n'
  fi
  printf 's3.configure -user xstilts -access_key %s -secret_key %s -buckets xstilts -actions Read,Write,List -apply\n' "$ID" "$KEY"
} | run kubectl -n kubeflow exec -i deployment/seaweedfs -- /usr/bin/weed shell >/dev/null
dry || has_bucket || stop "SeaweedFS has no bucket xstilts; see the output of its shell above"
