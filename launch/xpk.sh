#!/usr/bin/env bash
# One run on a cluster that xpk set up (pip install xpk), in the image of Dockerfile.tpu: launch/xpk.sh COMMAND [FLAG…]
#   VLFUSION_CLUSTER    the cluster
#   VLFUSION_NAME       of the run, for xpk
#   VLFUSION_TPU_TYPE   such as v5litepod-16
#   VLFUSION_SLICES     how many, 1 unless set
#   VLFUSION_IMAGE      the image
#   VLFUSION_STORAGE    storage attached by `xpk storage`, that all hosts share; the run's --workdir lies in it
set -euo pipefail

# 75: stopped by a signal, and saved. Lost processes, 127 and above, are xpk's own default.
xpk workload create --cluster="${VLFUSION_CLUSTER:?is not set}" --workload="${VLFUSION_NAME:?is not set}" \
  --tpu-type="${VLFUSION_TPU_TYPE:?is not set}" --num-slices="${VLFUSION_SLICES:-1}" \
  --docker-image="${VLFUSION_IMAGE:?is not set}" --storage="${VLFUSION_STORAGE:?is not set}" \
  --max-restarts=100 --restart-on-exit-codes=75 --command="$(printf '%q ' /vlfusion/launch/start.sh "$@")"
