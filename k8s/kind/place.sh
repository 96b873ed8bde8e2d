# shellcheck shell=bash
# shellcheck disable=SC2034
# Where the kind cluster is, for its scripts to source. Its own kubeconfig: no other cluster can be meant by mistake.

CLUSTER=xstilts
REPOSITORY=$(cd "$K8S/.." && pwd)
WORK=${XSTILTS_KIND_WORK:-$REPOSITORY/.xstilts/kind}
XSTILTS=${XSTILTS:-$REPOSITORY/.venv/bin/xstilts}
export KUBECONFIG=$WORK/kubeconfig
export PATH=$PATH:${XSTILTS%/*}    # where `make setup` has put a kubectl
mkdir -p "$WORK"

cluster_exists() { kind get clusters 2>/dev/null | grep -x "$CLUSTER" >/dev/null; }
