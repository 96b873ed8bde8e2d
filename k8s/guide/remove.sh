#!/usr/bin/env bash
# Deletes what keys.sh, base.sh and nodes.sh created. What the whole cluster shares (priority classes, the policy that gives steps theirs, queue, node labels)
# is kept while another namespace has an installation. The store, KFP, KubeRay and Kueue are kept.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

OURS=app.kubernetes.io/part-of=xstilts
say "deleting our RayJobs in $NAMESPACE, then the rest"
run kubectl -n "$NAMESPACE" delete rayjob -l app.kubernetes.io/part-of=xstilts --ignore-not-found
run kubectl -n "$NAMESPACE" delete cronjob,networkpolicy,resourcequota,limitrange,rolebinding,role,serviceaccount,configmap,secret -l app.kubernetes.io/part-of=xstilts --ignore-not-found
KUEUE=dry
dry || KUEUE=$(kubectl get crd clusterqueues.kueue.x-k8s.io -o name 2>/dev/null || true)
[ -z "$KUEUE" ] || run kubectl -n "$NAMESPACE" delete localqueue -l "$OURS" --ignore-not-found
[ -z "$PROMETHEUS" ] || run kubectl -n "$NAMESPACE" delete podmonitor -l "$OURS" --ignore-not-found
say "removing the labels of $NAMESPACE"
LABELS=(xstilts.dev/queue-)
for mode in warn audit; do
  if dry || [ -n "$(kubectl get namespace "$NAMESPACE" --ignore-not-found -o "jsonpath={.metadata.annotations.xstilts\.dev/pod-security-$mode}")" ]; then
    LABELS+=("pod-security.kubernetes.io/$mode-")
  fi
done
run kubectl label namespace "$NAMESPACE" "${LABELS[@]}"
run kubectl annotate namespace "$NAMESPACE" xstilts.dev/pod-security-warn- xstilts.dev/pod-security-audit-

OTHERS=
dry || OTHERS=$(kubectl get configmap -A -l "$OURS" --field-selector metadata.name=xstilts-config -o "jsonpath={.items[*].metadata.namespace}")
OTHERS=$(printf '%s' "$OTHERS" | tr ' ' '\n' | grep -vxF "$NAMESPACE" || true)
if [ -n "$OTHERS" ]; then
  say "keeping priority classes, queue and node labels, which other installations use: $(printf '%s' "$OTHERS" | tr '\n' ' ')"
else
  if mutates; then
    run kubectl delete -k "$K8S/components/step-priority" --ignore-not-found
  fi
  run kubectl delete priorityclass -l app.kubernetes.io/part-of=xstilts --ignore-not-found
  [ -z "$KUEUE" ] || run kubectl delete -k "$K8S/components/kueue/cluster" --ignore-not-found
  run kubectl label node -l xstilts.dev/pool=gpu xstilts.dev/pool-
fi
