#!/usr/bin/env bash
# One process of a run, with the flags of its platform; everything else in this folder ends here.
#   VLFUSION_PLATFORM=cpu|gpu|tpu launch/start.sh COMMAND [FLAG…]
set -euo pipefail

export VLFUSION_PLATFORM=${VLFUSION_PLATFORM:?is not set: cpu, gpu or tpu}
flags=$(dirname "${BASH_SOURCE[0]}")/flags/$VLFUSION_PLATFORM.env
[[ -f $flags ]] || { echo "start.sh: VLFUSION_PLATFORM is $VLFUSION_PLATFORM, not cpu, gpu or tpu" >&2; exit 2; }
set -a # what the file sets reaches vlfusion
# shellcheck source=/dev/null
source "$flags"
set +a

# One write, so that the lines of several processes stay apart.
told=$(env | grep -E '^(VLFUSION|JAX|XLA|LIBTPU|GLIBC|CUDA_VISIBLE|NCCL|TPU|MEGASCALE|SLURM_(JOB_ID|NTASKS|PROCID))' | sort)
printf 'start.sh on %s: vlfusion %s, with\n%s\n' "$(hostname)" "$*" "${told//$'\n'/$'\n'  }" >&2
exec vlfusion "$@"
