#!/usr/bin/env bash
# Builds the images with CUDA on a base with a locked digest, pushes them, and locks their digests.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

say "resolving the digest of the base"
run "$XSTILTS" lock base --resolve
say "building images and pushing them to $REGISTRY"
run make --no-print-directory -C "$REPOSITORY" wheels TORCH=cuda
run make --no-print-directory -C "$REPOSITORY" publish TORCH=cuda REGISTRY="$REGISTRY" TAG="$TAG"
say "writing their digests to images/images.lock; commit it"
run "$XSTILTS" lock --registry "$REGISTRY" --tag "$TAG" --resolve
