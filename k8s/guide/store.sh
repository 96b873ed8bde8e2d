#!/usr/bin/env bash
# AWS: creates the bucket (private, unfinished uploads deleted after a day) and a policy for the pods' role or user. For
# other servers, k8s/s3/policy.json and k8s/s3/lifecycle.json show what the store needs.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

FILES=$(mktemp -d)
trap 'rm -rf "$FILES"' EXIT
for file in policy lifecycle; do
  sed -e "s|BUCKET|$BUCKET|g" -e "s|PREFIX/|$PREFIX/|g" -e "s|MIRROR/|$MIRROR/|g" "$K8S/s3/$file.json" >"$FILES/$file.json"
done
if ! dry && aws s3api head-bucket --bucket "$BUCKET" 2>/dev/null; then
  say "bucket $BUCKET exists"
else
  say "creating bucket $BUCKET"
  run aws s3 mb "s3://$BUCKET" --region "$REGION"
  run aws s3api put-public-access-block --bucket "$BUCKET" --public-access-block-configuration "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
  run aws s3api put-bucket-lifecycle-configuration --bucket "$BUCKET" --lifecycle-configuration "file://$FILES/lifecycle.json"
fi
say "policy xstilts-store; attach it to the role of the pods (ROLE_ARN), or to the user whose keys they use"
if ! dry && [ -n "$(aws iam list-policies --scope Local --query "Policies[?PolicyName=='xstilts-store'].Arn" --output text)" ]; then
  say "it exists; compare it with k8s/s3/policy.json"
else
  run aws iam create-policy --policy-name xstilts-store --policy-document "file://$FILES/policy.json"
fi
