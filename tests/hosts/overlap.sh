#!/bin/bash
# How much of the traffic of both flows hides behind work: `reelscale bench overlap` of 2 to 16 ranks
# on up to four hosts of this machine whose links are slow (hosts.sh). As root; `make overlap`.
#
#   overlap.sh PROGRAM [PROGRAM...]
#
# Several programs, such as one before a change and one after it, take turns. What the table needs
# besides, such as other numbers of pieces, goes to PIECES, MIB, RATE and REPEAT. GRID, as 4x1, adds
# the turns of a grid of ranks, where PLACES, as 4x4, are as many.
set -eu
hosts=$(dirname "$0")/hosts.sh
trap '"$hosts" end 4; "$hosts" down 4' EXIT
"$hosts" down 4
"$hosts" up 4
for host in 1 2 3 4; do "$hosts" rate "reel$host" "${RATE:-300mbit}"; done
echo "load average at the start: $(cut -d' ' -f1-3 /proc/loadavg)"
for places in ${PLACES:-2x1 4x1 4x2 4x4}; do
  for polls in 12 4; do
    for program in "$@"; do
      echo "$program, $places, $polls polls"
      "$hosts" run "$places" "$(realpath "$program")" bench overlap \
        ${GRID:+--grid "$GRID"} --pieces "${PIECES:-24}" \
        --mib "${MIB:-1}" --polls "$polls" --repeat "${REPEAT:-5}"
    done
  done
done
echo "load average at the end: $(cut -d' ' -f1-3 /proc/loadavg)"
