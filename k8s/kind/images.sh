#!/usr/bin/env bash
# Builds every image for CPUs and loads them into the nodes.
set -euo pipefail
# shellcheck source=../say.sh
. "$(dirname "$0")/../say.sh"
# shellcheck source=place.sh
. "$K8S/kind/place.sh"

say "images"
run make --no-print-directory -C "$REPOSITORY" wheels images TORCH=cpu
mapfile -t IMAGES < <("$XSTILTS" lock | awk '$2 ~ /^xstilts\// {print $2}')
[ "${#IMAGES[@]}" -gt 0 ] || stop "'$XSTILTS lock' names no image called xstilts/…: kind runs what was built here, so take images/images.lock as it stands in git"
say "into the nodes: ${IMAGES[*]}"
run kind load docker-image --name "$CLUSTER" "${IMAGES[@]}"
