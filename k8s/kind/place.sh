# shellcheck shell=bash
# shellcheck disable=SC2034
# The place of the kind cluster, sourced by its scripts. It has its own kubeconfig, so that no other cluster is changed by
# mistake.

CLUSTER=xstilts
REPOSITORY=$(cd "$K8S/.." && pwd)
WORK=${XSTILTS_KIND_WORK:-$REPOSITORY/.xstilts/kind}
XSTILTS=${XSTILTS:-$REPOSITORY/.venv/bin/xstilts}
export KUBECONFIG=$WORK/kubeconfig
export PATH=$PATH:${XSTILTS%/*}    # `make setup` installs a kubectl there
dry || mkdir -p "$WORK"

cluster_exists() { kind get clusters 2>/dev/null | grep -x "$CLUSTER" >/dev/null; }
