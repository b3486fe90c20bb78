#!/usr/bin/env bash
# Compares the device text with the processor's kernels, as plain C++ in four orders of a group's
# threads, also under ASan and UBSan, and on an OpenCL device (PoCL serves); makes its PTX anew
# where NVRTC installs and looks through it. Controls, which change the text or how it is compiled,
# must differ. `make gpu-check` builds the program and runs this.
set -eu
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-target}
program=$target/release/gpu-check
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

# EXPECTED WHAT COMMAND...: runs it, expects this exit status, tells the last line.
run() {
  local expected=$1 what=$2 status=0
  shift 2
  "$@" >"$found" 2>&1 || status=$?
  if [ "$status" != "$expected" ]; then
    fail "$what: exit $status, expected $expected"
    return
  fi
  printf '%-48s %s\n' "$what" "$(tail -n 1 "$found")"
}

# The same of a comparison: a control that fails for another reason than its bits shows nothing.
compare() {
  run "$@" >"$found.line"
  if grep -q '^FAILED' "$found.line"; then
    cat "$found.line"
  elif ! grep -q '^all ' "$found"; then
    fail "$2: nothing was compared"
  elif [ "$1" = 1 ] && grep -q '^all .* 0$' "$found"; then
    fail "$2: nothing differs"
  else
    awk -v what="$2" '$1 == "all" { printf "%-48s %s\n", what,
      $2 " cases, " $3 " numbers, " $4 " differ" }' "$found"
  fi
}

fail() {
  echo "FAILED: $1"
  cat "$found"
  failed=1
}

# NAME FOLDER OPTIONS...: the text in FOLDER as a shared library. FMA is the processor's own; nothing
# else may be contracted.
build() {
  local name=$1 from=$2 fma=
  shift 2
  case $(uname -m) in x86_64) fma=-mfma ;; esac
  g++ -std=c++17 -shared -fPIC -ffp-contract=off -fno-exceptions -fno-rtti $fma "$@" \
    -o "$folder/$name.so" "$from/text/plain.cpp"
}

# A copy of the kernels in which a line of turn.h says something else.
planted() {
  cp -r ../src/kernel "$folder/$1"
  sed -i "s/$2/$3/" "$folder/$1/text/turn.h"
  ! cmp -s ../src/kernel/text/turn.h "$folder/$1/text/turn.h"
}

plain() {
  local order barrier barriers
  build plain ../src/kernel -O2
  for order in forward reverse 7 8; do
    compare 0 "plain C++, threads' order $order" \
      "$program" plain --library "$folder/plain.so" --cases 8 --order $order
  done
  barriers=$("$program" barriers --library "$folder/plain.so")
  for ((barrier = 0; barrier < barriers; barrier++)); do
    compare 1 "control: without barrier $barrier of $barriers" "$program" plain \
      --library "$folder/plain.so" --cases 3 --order 7 --without-barrier $barrier
  done
}

# Sanitizers end a process with 99, which no comparison does.
sanitizing="-O2 -fsanitize=address,undefined -fno-sanitize-recover=all"
export ASAN_OPTIONS=exitcode=99:detect_leaks=0 UBSAN_OPTIONS=exitcode=99
asan=$(g++ -print-file-name=libasan.so)

sanitized() {
  local order
  build sanitized ../src/kernel $sanitizing
  # Most cases in one order: which thread comes first changes no place that is read or written.
  for order in forward reverse 7; do
    compare 0 "ASan and UBSan, threads' order $order" env "LD_PRELOAD=$asan" \
      "$program" plain --library "$folder/sanitized.so" --order $order \
      --cases $([ $order = forward ] && echo 6 || echo 5)
  done
}

found_by_sanitizers() {
  mkdir "$folder/driver"
  driver/build.sh "$folder/driver" ../src/kernel $sanitizing
  compare 0 "CUDA's stand-in under ASan and UBSan" env "LD_PRELOAD=$asan" \
    "LD_LIBRARY_PATH=$folder/driver" STAND_IN_ORDER=7 "$program" cuda --cases 5
  planted bound 'if (k < width) held' 'held'
  build bound "$folder/bound" $sanitizing
  run 99 "control: a bound left out" env "LD_PRELOAD=$asan" \
    "$program" plain --library "$folder/bound.so" --cases 2
  planted overflow 'const int x = THREAD % 32' \
    'int far = THREAD; far += 2147483647; far -= 2147483647; const int x = far % 32'
  build overflow "$folder/overflow" $sanitizing
  run 99 "control: an overflow" env "LD_PRELOAD=$asan" \
    "$program" plain --library "$folder/overflow.so" --cases 2
}

# Without its cache PoCL takes half a minute to compile all kernels, so most controls are on few.
opencl() {
  local exact="-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt" option
  compare 0 "OpenCL" "$program" opencl --cases 12
  compare 1 "control: a sign flipped" "$program" opencl --cases 4 \
    --only mixtures --plant "positive ? -slope : slope" "positive ? slope : -slope"
  compare 1 "control: ties go to the higher class" "$program" opencl --cases 4 \
    --only best --plant "own_class < other_class" "own_class > other_class"
  compare 1 "control: iRprop+ takes no move back" "$program" opencl --cases 4 \
    --only signs --plant "if (rose) weights[at] = weights[at] - moves[at];" ""
  for option in -cl-fast-relaxed-math -cl-denorms-are-zero; do
    compare 1 "control: $option" "$program" opencl --cases 0 --options "$exact $option"
  done
  compare 1 "control: FMA as a product and a sum" "$program" opencl --cases 0 \
    --plant "fma(a, b, c)" "((a) * (b) + (c))"
}

ptx() {
  local make=../src/kernel/text/ptx.py nvrtc=$target/nvrtc
  run 0 "PTX" "$program" inspect
  sed 's/mul\.rn\.f32/mul.f32/' ../src/kernel/text/device.ptx >"$folder/changed"
  run 1 "control: PTX that may be contracted" "$program" inspect --ptx "$folder/changed"
  if [ -z "${NVRTC_LIBRARY:-}" ]; then
    [ -e "$nvrtc/nvidia/cu13/lib/libnvrtc.so.13" ] ||
      timeout 300 python3 -m pip install --quiet --disable-pip-version-check \
        --target "$nvrtc" nvidia-cuda-nvrtc==13.0.88 >"$found" 2>&1 || rm -rf "$nvrtc"
    [ -e "$nvrtc" ] && export NVRTC_LIBRARY=$nvrtc/nvidia/cu13/lib/libnvrtc.so.13
  fi
  run 0 "PTX is the text's" python3 $make --check
  run 1 "control: PTX of another text" python3 $make --check \
    --plant "positive ? -slope" "positive ? slope"
  if [ -z "${NVRTC_LIBRARY:-}" ]; then
    echo "skipped: PTX isn't made anew, since NVRTC (nvidia-cuda-nvrtc 13.0.88) doesn't install here"
    return
  fi
  run 1 "control: PTX with denormals flushed" python3 $make --check \
    --without --ftz=false --option --ftz=true
  run 0 "PTX with fast arithmetic is made" python3 $make "$folder/fast" --without --fmad=false \
    --without --ftz=false --without --prec-div=true --without --prec-sqrt=true \
    --option --use_fast_math
  run 1 "control: fast arithmetic" "$program" inspect --ptx "$folder/fast"
}

# Each beside the others, telling by its exit status whether something has failed.
parts=(plain sanitized found_by_sanitizers opencl ptx)
pids=()
for part in "${parts[@]}"; do
  (found=$folder/found-$part; $part; exit $failed) >"$folder/told-$part" 2>&1 &
  pids+=($!)
done
for index in "${!parts[@]}"; do
  wait "${pids[$index]}" || failed=1
  cat "$folder/told-${parts[$index]}"
done
exit $failed
