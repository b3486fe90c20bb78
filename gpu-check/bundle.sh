#!/usr/bin/env bash
# Puts together what compares and measures on a machine with a GPU, a folder that needs nothing but a
# driver there: this crate's program, reelscale without MPI, jobs and small shards.
#
#   bundle.sh FOLDER RELEASE [--any-libraries]
#
# RELEASE holds gpu-check, reelscale and examples/pinned_jobs. A program that needs libraries which
# a machine may lack (MPI, HDF5) is refused, but for tests, which take what they have built.
set -eu
folder=${1:?folder} release=${2:?folder of the programs}
cd "$(dirname "$0")"
rm -rf "$folder"
mkdir -p "$folder"
for program in gpu-check reelscale; do
  strip -o "$folder/$program" "$release/$program"
done
"$release/examples/pinned_jobs" "$folder"
cp run.sh "$folder"

if [ "${3:-}" != --any-libraries ]; then
  for program in gpu-check reelscale; do
    if more=$(ldd "$folder/$program" |
      grep -vE '^\s*(linux-vdso|/lib64/ld-linux|/lib/ld-linux|lib(c|m|gcc_s|dl|rt|pthread)\.so)'); then
      echo "bundle.sh: $program needs more than a machine has: $more" >&2
      exit 1
    fi
  done
fi
mib=$(du -sm "$folder" | cut -f 1)
if [ "$mib" -gt 40 ]; then
  echo "bundle.sh: $folder has $mib MiB, expected 40 at most" >&2
  exit 1
fi
echo "$folder: $mib MiB; copy it to a machine with a GPU, and there: ./run.sh OUT"
