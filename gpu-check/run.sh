#!/bin/sh
# Compares what a GPU computes with the processor, bit by bit, and measures it, from this folder
# alone; a driver is all that it needs.
#
#   ./run.sh OUT [--device cuda|opencl] [--small]
#
# writes OUT/gpu.json: device, driver, hashes {name: {host, device}}, rates [{name, rows, tflops,
# seconds}], sanitizer, failed, left_out, ended. It is written after each part. OUT must not hold
# runs yet. Under eight minutes on one H100 with 16 cores. Exit 0: all is as on the processor; 1: a
# hash differs or a run failed; 2: what there was time for is as on the processor; 3: there is no
# such device; 124: something hung, gpu.json has what came before. --small: few cases, runs and rows,
# for devices that are processors.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?the folder for results}
shift
exec timeout 475 "$here/gpu-check" bundle --out "$out" "$@"
