#!/usr/bin/env bash
# Compares the device text with the processor's kernels, as plain C++ in four orders of a group's
# threads and on an OpenCL device (PoCL serves), and looks through its PTX. Controls, which change
# the text or how it is compiled, must differ. `make gpu-check` builds the program and runs this.
set -eu
cd "$(dirname "$0")"
program=${CARGO_TARGET_DIR:-target}/release/gpu-check
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
found=$folder/found
failed=0

# EXPECTED WHAT COMMAND...: runs it, expects this exit status, tells what was compared.
run() {
  local expected=$1 what=$2 status=0 all
  shift 2
  "$@" >"$found" 2>&1 || status=$?
  all=$(awk '$1 == "all" { print $2 " cases, " $3 " numbers, " $4 " differ" }
             $2 == "faults" { print }' "$found")
  # A control that fails for another reason than its bits shows nothing.
  if [ "$status" != "$expected" ] || { [ -z "$all" ] && [ "$1" = "$program" ]; }; then
    echo "FAILED: $what: exit $status, expected $expected"
    cat "$found"
    failed=1
  else
    printf '%-44s %s\n' "$what" "${all:-$(tail -n 1 "$found")}"
  fi
}

plain() {
  local order
  for order in forward reverse 7 8; do
    run 0 "plain C++, threads' order $order" "$program" plain --cases 12 --order $order
  done
  run 1 "control: without barriers" "$program" plain --cases 2 --without-barriers
}

# Without its cache PoCL takes half a minute to compile all kernels, so most controls are on few.
opencl() {
  local exact="-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt" option
  run 0 "OpenCL" "$program" opencl --cases 12
  run 1 "control: a sign flipped" "$program" opencl --cases 2 \
    --plant "positive ? -slope : slope" "positive ? slope : -slope"
  for option in -cl-fast-relaxed-math -cl-denorms-are-zero; do
    run 1 "control: $option" "$program" opencl --cases 0 --options "$exact $option"
  done
  run 1 "control: FMA as a product and a sum" "$program" opencl --cases 0 \
    --plant "fma(a, b, c)" "((a) * (b) + (c))"
}

# Each in a process of its own, which tells by its exit status whether something has failed.
(found=$folder/plain; plain; exit $failed) >"$folder/told" &
(opencl; exit $failed) || failed=1
wait $! || failed=1
cat "$folder/told"

run 0 "PTX" "$program" inspect
sed 's/mul\.rn\.f32/mul.f32/' ../src/kernel/text/device.ptx >"$folder/changed"
run 1 "control: PTX that may be contracted" "$program" inspect --ptx "$folder/changed"
run 0 "PTX is the text's" python3 ../src/kernel/text/ptx.py --check
run 1 "control: PTX of another text" python3 ../src/kernel/text/ptx.py --check --plant "positive ? -slope" "positive ? slope"
exit $failed
