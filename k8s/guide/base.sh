#!/usr/bin/env bash
# Writes the site's overlay (k8s/overlays/site, from site.env and images.lock) and applies it, and the policy that gives
# steps their priority class.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

if dry; then
  IMAGE="$REGISTRY/finetune-step:$TAG sha256:DIGEST"    # in images.lock
else
  IMAGE=$("$XSTILTS" lock | awk '$1 == "finetune-step" {print $2, $3}')
fi
[ -n "$IMAGE" ] || stop "'$XSTILTS lock' lists no finetune-step; check that images/images.lock exists"
REFERENCE=${IMAGE% *} DIGEST=${IMAGE##* }
case "$DIGEST" in sha256:*) ;; *) stop "finetune-step has no digest yet: run k8s/guide/images.sh first" ;; esac
PORT=$(python3 -IS -c 'import sys, urllib.parse as u; p = u.urlsplit(sys.argv[1]); print(p.port or {"http": 80}.get(p.scheme, 443))' "$ENDPOINT")

overlay() {
  printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: %s\n' "$NAMESPACE"
  printf 'resources:\n- ../gpu\n'
  [ "$PORT" = 443 ] || printf -- '- s3.yaml\n'
  printf 'components:\n'
  if [ -n "$ROLE_ARN" ]; then printf -- '- ../../components/irsa\n'; else printf -- '- ../../components/static-keys\n'; fi
  [ -z "$PROMETHEUS" ] || printf -- '- ../../components/prometheus\n'
  printf 'images:\n- name: xstilts/finetune-step\n  newName: %s\n  digest: %s\n' "${REFERENCE%:*}" "$DIGEST"
  printf 'patches:\n- target: {kind: ConfigMap, name: xstilts-config}\n  patch: |-\n'
  printf '    - {op: replace, path: /data/XSTILTS_STORE, value: "%s"}\n' "$STORE"
  printf '    - {op: replace, path: /data/AWS_REGION, value: "%s"}\n' "$REGION"
  [ -z "$ENDPOINT" ] || printf '    - {op: add, path: /data/AWS_ENDPOINT_URL, value: "%s"}\n' "$ENDPOINT"
  if [ -n "$PULL_SECRET" ]; then    # on the service accounts, so that steps, Ray pods and the clean-up all have it
    printf -- '- target: {kind: ServiceAccount, name: xstilts-(step|ray|gc)}\n  patch: |-\n'
    printf '    - {op: add, path: /imagePullSecrets, value: [{name: "%s"}]}\n' "$PULL_SECRET"
  fi
  if [ -n "$ROLE_ARN" ]; then
    printf -- '- target: {kind: ServiceAccount, name: xstilts-(step|ray|gc)}\n  patch: |-\n'
    printf '    - {op: replace, path: /metadata/annotations/eks.amazonaws.com~1role-arn, value: "%s"}\n' "$ROLE_ARN"
  fi
}

# The policy for an S3 whose port is not 443.
s3_policy() {
  cat <<POLICY
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: xstilts-s3-endpoint
  labels: {app.kubernetes.io/part-of: xstilts}
spec:
  podSelector:
    matchLabels: {app.kubernetes.io/part-of: xstilts}
  policyTypes: [Egress]
  egress:
  - ports:
    - {port: $PORT, protocol: TCP}    # if a Service maps it to another port of its pods, use that port here
POLICY
}

say "writing the overlay $SITE"
if dry; then
  overlay
  [ "$PORT" = 443 ] || s3_policy
else
  mkdir -p "$SITE"
  rm -f "$SITE/s3.yaml"
  overlay >"$SITE/kustomization.yaml"
  [ "$PORT" = 443 ] || s3_policy >"$SITE/s3.yaml"
fi
run kubectl kustomize "$SITE" -o "$SITE/built.yaml"
run kubectl diff --server-side --force-conflicts -f "$SITE/built.yaml" || [ $? -eq 1 ]
run kubectl apply --server-side --force-conflicts -f "$SITE/built.yaml"
if mutates; then
  run kubectl apply --server-side --force-conflicts -k "$K8S/components/step-priority"
else
  say "the API server has no MutatingAdmissionPolicy (Kubernetes 1.36): steps keep the cluster's default priority"
fi
run kubectl -n "$NAMESPACE" get serviceaccount,networkpolicy,resourcequota,cronjob -l app.kubernetes.io/part-of=xstilts
