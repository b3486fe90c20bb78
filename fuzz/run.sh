#!/usr/bin/env bash
# Fuzzes each target for so many seconds: fuzz/run.sh SECONDS [TARGET...]
# Inputs that are found grow in target/fuzz/corpus/; what breaks a promise is kept in
# target/fuzz/artifacts/ and makes this fail. fuzz/corpus/ is read, not written.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?seconds for each target}
shift
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares"
# With --target the flags are for the program alone: what runs while building isn't instrumented.
RUSTFLAGS="${RUSTFLAGS:-} $(echo $coverage)" cargo build --release --quiet \
  --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --target "$host"
program=target/fuzz/$host/release/fuzz
[ $# -gt 0 ] || set -- $(ls fuzz/corpus)
failed=0
for target; do
  found=target/fuzz/corpus/$target
  kept=target/fuzz/artifacts/$target
  mkdir -p "$found" "$kept"
  log=target/fuzz/$target.log
  started=$(date +%s)
  if FUZZ_TARGET=$target "$program" -max_total_time="$time" -timeout=10 -rss_limit_mb=1024 \
    -max_len=16384 -use_value_profile=1 -print_final_stats=1 -verbosity=1 \
    -artifact_prefix="$kept/" "$found" "fuzz/corpus/$target" >"$log" 2>&1; then
    told="no crash, no hang"
  else
    told="FAILED, see $log and $kept/"
    failed=1
  fi
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  printf '%-12s %12s inputs in %4d s: %s\n' "$target" "${inputs:-no}" $(($(date +%s) - started)) "$told"
done
exit $failed
