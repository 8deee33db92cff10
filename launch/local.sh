#!/usr/bin/env bash
# One run on this machine, in one process or several (bash 5.1 or newer):
#   launch/local.sh [--processes=N] COMMAND [FLAG…]
# N also comes by VLFUSION_NUM_PROCESSES. VLFUSION_PLATFORM is cpu (default), gpu (of several processes, each has one)
# or tpu (one process).
set -euo pipefail

start=$(dirname "${BASH_SOURCE[0]}")/start.sh
export VLFUSION_PLATFORM=${VLFUSION_PLATFORM:-cpu}
processes=${VLFUSION_NUM_PROCESSES:-1}
if [[ ${1-} == --processes=* ]]; then
  processes=${1#*=}
  shift
fi
[[ $processes =~ ^[1-9][0-9]*$ ]] || { echo "local.sh: --processes=$processes is not a number of processes" >&2; exit 2; }
if ((processes == 1)); then
  unset VLFUSION_NUM_PROCESSES VLFUSION_COORDINATOR_ADDRESS VLFUSION_PROCESS_ID
  exec "$start" "$@"
fi

export VLFUSION_NUM_PROCESSES=$processes
# Below the ports that the system hands out by itself.
export VLFUSION_COORDINATOR_ADDRESS=${VLFUSION_COORDINATOR_ADDRESS:-127.0.0.1:$((20000 + RANDOM % 10000))}
IFS=, read -ra gpus <<<"${CUDA_VISIBLE_DEVICES-}" # those that it may use, where they are named
if [[ $VLFUSION_PLATFORM == gpu && -v CUDA_VISIBLE_DEVICES && ${#gpus[@]} -lt $processes ]]; then
  echo "local.sh: CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES has fewer GPUs than --processes=$processes" >&2
  exit 2
fi
declare -A process # by its id in the system
for ((i = 0; i < processes; i++)); do
  export VLFUSION_PROCESS_ID=$i
  [[ $VLFUSION_PLATFORM != gpu ]] || export CUDA_VISIBLE_DEVICES=${gpus[i]-$i}
  "$start" "$@" &
  process[$!]=$i
done
trap 'kill -TERM "${!process[@]}" || true' INT TERM # each saves and stops

status=0
while ((${#process[@]})); do
  code=0
  wait -n -p ended "${!process[@]}" 2>/dev/null || code=$?
  if [[ -z ${ended-} ]]; then
    # Of processes that died at once bash tells `wait -n` of one and drops the others; `wait` still has their status.
    for id in "${!process[@]}"; do
      kill -0 "$id" 2>/dev/null || ended=$id
    done
    [[ -n ${ended-} ]] || continue # a signal came, and the trap passed it on
    code=0
    wait "$ended" || code=$?
  fi
  if ((code && !status)); then
    status=$code
    who="local.sh: process ${process[$ended]} of $processes"
    if ((code > 128)) && signal=$(kill -l "$code"); then
      echo "$who is lost, killed by SIG$signal; the others notice within ${VLFUSION_HEARTBEAT_SECONDS:-30} s and end." \
        "The same command goes on from the newest checkpoint." >&2
    else
      echo "$who ended with status $code" >&2
    fi
  fi
  unset "process[$ended]"
done
exit "$status"
