#!/usr/bin/env bash
# Puts a built program, its manual pages and completions, jobs, Slurm scripts and documents into an
# archive. The same program and sources give the same bytes (`make dist`; INSTALL.md).
#
#   dist.sh PROGRAM FOLDER      writes FOLDER/reelscale-VERSION-linux-ARCHITECTURE-MPI.tar.gz
#
# VERSION is what version.sh says; a program of another commit than this tree's is refused.
# SOURCE_DATE_EPOCH: the time of all files, in seconds; default: the commit's.
set -euo pipefail
program=$(realpath "${1:?the built program}") out=$(realpath -m "${2:?folder of the archive}")
cd "$(dirname "$0")/.."

version=$(packaging/version.sh)
# Sources that were unpacked within another project's repository are none of its commits.
if git ls-files --error-unmatch Cargo.toml >/dev/null 2>&1; then
  files() { git ls-files -z -- "$@"; }
  time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
  expected=$(git rev-parse HEAD)
  # What may be wrong with this machine is none of the archive's business.
  found=$({ "$program" doctor --device host || true; } | sed -n 's/^program .*, commit //p')
  if [ "$found" != "$expected" ]; then
    echo "dist.sh: $program: found a program of commit ${found:-unknown}, expected this tree's," \
      "$expected; hint: build it anew" >&2
    exit 1
  fi
else
  files() { find "$@" -type f ! -path '*/__pycache__/*' -print0; }
  time=${SOURCE_DATE_EPOCH:-$(stat -c %Y Cargo.toml)}
fi

libraries=$(ldd "$program")
case $libraries in
*libmpich.so* | *libmpi.so.12*) mpi=mpich ;;
*libmpi.so*) mpi=openmpi ;;
*) mpi=threads ;;
esac
name=reelscale-$version-linux-$(uname -m)-$mpi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
mkdir -p "$root/bin"
strip -o "$root/bin/reelscale" "$program"
chmod 755 "$root/bin/reelscale"
generate() { "$root/bin/reelscale" generate "$1" --output "$root/share/$2"; }
generate man man/man1
generate complete-bash bash-completion/completions
generate complete-zsh zsh/site-functions
generate complete-fish fish/vendor_completions.d
# Links of the documents lead to files that are there (tests/packages.rs).
files ./*.md CITATION.cff LICENSE docs jobs slurm hdf5-data/README.md gpu-check/README.md |
  xargs -0 cp --parents -t "$root"
{
  echo "version    $version"
  { "$root/bin/reelscale" doctor --device host || true; } | grep -E '^(program|hdf5) '
  echo "needs      $(objdump -p "$program" | awk '$1 == "NEEDED" { print $2 }' | sort | xargs)"
  echo "glibc      $(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1), or newer"
} > "$root/BUILD"
(cd "$root" && find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum > "$work/sums")
mv "$work/sums" "$root/SHA256SUMS"

mkdir -p "$out"
LC_ALL=C tar --create --directory "$work" --sort=name --mtime="@$time" --owner=0 --group=0 \
  --numeric-owner --mode=u=rwX,go=rX --format=gnu "$name" | gzip -n > "$work/archive"
mv "$work/archive" "$out/$name.tar.gz"
echo "$out/$name.tar.gz: $(du -m "$out/$name.tar.gz" | cut -f 1) MiB"
