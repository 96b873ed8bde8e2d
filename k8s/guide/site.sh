# shellcheck shell=bash
# shellcheck disable=SC2034
# The settings of the site; the scripts of the guide source this after say.sh.

SITE_ENV=${SITE_ENV:-$K8S/guide/site.env}
SITE=${SITE:-$K8S/overlays/site}
REPOSITORY=$(cd "$K8S/.." && pwd)
XSTILTS=${XSTILTS:-$REPOSITORY/.venv/bin/xstilts}
[ -f "$SITE_ENV" ] || stop "$SITE_ENV does not exist: copy k8s/guide/site.env.example to it and edit it"
# shellcheck source=site.env.example
. "$SITE_ENV"
for setting in NAMESPACE BUCKET PREFIX MIRROR REGION REGISTRY TAG; do
  [ -n "${!setting:-}" ] || stop "$SITE_ENV: $setting is empty"
done
ENDPOINT=${ENDPOINT:-} ROLE_ARN=${ROLE_ARN:-} PULL_SECRET=${PULL_SECRET:-} PROMETHEUS=${PROMETHEUS:-}
STORE=s3://$BUCKET/$PREFIX
export AWS_REGION=$REGION
if [ -n "$ENDPOINT" ]; then export AWS_ENDPOINT_URL=$ENDPOINT; fi
