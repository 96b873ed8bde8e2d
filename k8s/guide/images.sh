#!/usr/bin/env bash
# Builds the images with CUDA on a base of a known digest, pushes them, and locks each by the digest that it has there.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

say "the base's digest"
run "$XSTILTS" lock base --resolve
say "images, to $REGISTRY"
run make --no-print-directory -C "$REPOSITORY" wheels TORCH=cuda
run make --no-print-directory -C "$REPOSITORY" publish TORCH=cuda REGISTRY="$REGISTRY" TAG="$TAG"
say "their digests into images/images.lock; commit it"
run "$XSTILTS" lock --registry "$REGISTRY" --tag "$TAG" --resolve
