#!/usr/bin/env bash
# Asks for a TPU VM, waits for it, and starts the run on it: launch/tpu_queued_resource.sh COMMAND [FLAG…]
#   VLFUSION_TPU_TYPE      such as v5litepod-16
#   VLFUSION_TPU_RUNTIME   such as v2-alpha-tpuv5-lite
#   VLFUSION_SPOT          1 for capacity that may be taken away
# and what tpu_vm.sh asks for. After the capacity was taken away, or to end: the `delete` below; then the same command
# again goes on from the newest checkpoint.
#   gcloud compute tpus queued-resources delete "$VLFUSION_TPU" --zone="$VLFUSION_ZONE" --force
set -euo pipefail

queued=(gcloud compute tpus queued-resources)
id=("${VLFUSION_TPU:?is not set}" --zone="${VLFUSION_ZONE:?is not set}")
: "${VLFUSION_TPU_TYPE:?is not set}" "${VLFUSION_TPU_RUNTIME:?is not set}"
: "${VLFUSION_IMAGE:?is not set}" "${VLFUSION_NFS:?is not set: HOST:/EXPORT}" # before anything is paid for
"${queued[@]}" create "${id[@]}" --node-id="$VLFUSION_TPU" --accelerator-type="$VLFUSION_TPU_TYPE" \
  --runtime-version="$VLFUSION_TPU_RUNTIME" ${VLFUSION_SPOT:+--spot}
while state=$("${queued[@]}" describe "${id[@]}" --format='value(state.state)') && [[ $state != ACTIVE ]]; do
  echo "tpu_queued_resource.sh: $VLFUSION_TPU is $state" >&2
  [[ $state != FAILED && $state != SUSPEND* ]] || exit 1
  sleep 30
done
[[ $state == ACTIVE ]] || exit 1 # gcloud has said why
exec "$(dirname "${BASH_SOURCE[0]}")/tpu_vm.sh" "$@"
