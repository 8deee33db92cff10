#!/usr/bin/env bash
# One run on every worker of a TPU VM that is up, in the image of Dockerfile.tpu: launch/tpu_vm.sh COMMAND [FLAG…]
#   VLFUSION_TPU, VLFUSION_ZONE   the TPU VM
#   VLFUSION_IMAGE                the image
#   VLFUSION_NFS                  HOST:/EXPORT of a file server (version 3), seen as /runs on all workers
set -euo pipefail

: "${VLFUSION_TPU:?is not set}" "${VLFUSION_ZONE:?is not set}" "${VLFUSION_IMAGE:?is not set}"
: "${VLFUSION_NFS:?is not set: HOST:/EXPORT}"
runs="type=volume,src=vlfusion-runs,dst=/runs,volume-driver=local,volume-opt=type=nfs"
runs+=",volume-opt=device=:${VLFUSION_NFS#*:},\"volume-opt=o=addr=${VLFUSION_NFS%%:*},nfsvers=3,nolock\""
# Of this shell's settings the container gets what is not this file's own.
mapfile -t settings < <(env | grep -E '^(VLFUSION_(HEARTBEAT_SECONDS|CACHE)=|JAX_|XLA_|LIBTPU_|TPU_|MEGASCALE_)' | sed 's/^/--env=/')
command=(sudo docker run --rm --pull=always --privileged --net=host --name=vlfusion --mount="$runs" "${settings[@]}")
gcloud compute tpus tpu-vm ssh "$VLFUSION_TPU" --zone="$VLFUSION_ZONE" --worker=all \
  --command="$(printf '%q ' "${command[@]}" "$VLFUSION_IMAGE" "$@")"
