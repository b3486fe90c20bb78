#!/usr/bin/env bash
# All tests. Some of their programs wait for most of their time, for nodes of Slurm, for a limit to
# pass, and some compute without looking at a clock: two of a kind run at a time, the others alone.
# What one printed comes when it ends, with the seconds that it took.
set -euo pipefail
cd "$(dirname "$0")/.."

# Slurm takes as long as all others of its kind.
WAITING='slurm watching faults agreement records run_directory large_values streams shard_faults numbers'
COMPUTING='traffic trials memory end_to_end emulated gpu_bundle grids simulator optimum annotate older
  pinned exchanges hostile_checkpoints fit pretraining_ranks seal models definitions
  odd_records odd_text export names tables plan columns flips shard_flips frames corpora convert odd_shards
  installed report'

one() {
  local began=$SECONDS name printed ended=0
  name=$(basename "$1")
  name=${name%-*}
  printed=$("$1" 2>&1) || ended=$?
  # A line at a time would mix two programs' ones.
  {
    flock 9
    printf '%s\n== %s %s after %s s\n' "$printed" "$name" \
      "$([ $ended = 0 ] && echo passed || echo "FAILED ($ended)")" $((SECONDS - began))
  } 9>"$TURN"
  return $ended
}
export -f one
TURN=$(mktemp)
export TURN
trap 'rm -f "$TURN"' EXIT

# The library's own tests are many and small: not optimised they take a minute more, their build takes
# three less.
cargo test --lib --config profile.dev.package.reelscale.opt-level=0
cargo build --examples
cargo test --no-run --test '*'
programs=$(cargo test --no-run --test '*' 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
[ -n "$programs" ]
both=$(echo $WAITING $COMPUTING)
# What Cargo sets for the tests that it starts itself (.cargo/config.toml says why).
export HDF5_USE_FILE_LOCKING=FALSE

# COUNT NAME...: the programs of these names in this order, so many at a time.
named() {
  local count=$1 name
  for name in "${@:2}"; do grep -E "/$name-[0-9a-f]+$" <<<"$programs"; done |
    xargs -P "$count" -I PROGRAM bash -c 'one PROGRAM'
}
failed=0
named 2 $WAITING || failed=1
named 2 $COMPUTING || failed=1
grep -vE "/(${both// /|})-[0-9a-f]+$" <<<"$programs" |
  xargs -P 1 -I PROGRAM bash -c 'one PROGRAM' || failed=1
# The example of the documentation is a program of no name.
cargo test --doc || failed=1
exit $failed
