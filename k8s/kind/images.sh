#!/usr/bin/env bash
# Builds every image for CPUs and loads them into the nodes.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

say "building images"
run make --no-print-directory -C "$REPOSITORY" wheels images TORCH=cpu
if dry; then
  IMAGES=(xstilts/IMAGE:dev)    # all of images.lock
else
  mapfile -t IMAGES < <("$XSTILTS" lock | awk '$2 ~ /^xstilts\// {print $2}')
fi
[ "${#IMAGES[@]}" -gt 0 ] || stop "'$XSTILTS lock' lists no image xstilts/…: kind needs locally built images, so restore images/images.lock from git"
say "loading into the nodes: ${IMAGES[*]}"
run kind load docker-image --name "$CLUSTER" "${IMAGES[@]}"
