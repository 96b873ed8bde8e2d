#!/usr/bin/env bash
# Builds the images with CUDA, pushes them, and locks each by the digest that the registry gave it.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=site.sh
. "$K8S/guide/site.sh"

say "images"
run make --no-print-directory -C "$REPOSITORY" wheels images TORCH=cuda
mapfile -t NAMES < <("$XSTILTS" lock | awk '$1 != "base" {print $1}')
[ "${#NAMES[@]}" -gt 0 ] || stop "'$XSTILTS lock' names no image; is images/images.lock there?"
say "to $REGISTRY"
for name in "${NAMES[@]}"; do
  run docker tag "xstilts/$name:dev" "$REGISTRY/$name:$TAG"
  run docker push "$REGISTRY/$name:$TAG"
done
say "their digests into images/images.lock; commit it"
run "$XSTILTS" lock --registry "$REGISTRY" --tag "$TAG" --resolve
