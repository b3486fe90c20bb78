#!/usr/bin/env bash
# Unpacks a release archive (`make dist`) in a Debian root that has its MPI's programs and nothing else
# of what the program was built with, and runs the demo there on two ranks.
#
#   bare.sh ARCHIVE [ROOT]      as root; ROOT is kept, and taken where it is there already
set -euo pipefail
archive=$(realpath "${1:?the archive}")
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
root=${2:-$(mktemp -d)}
[ $# -ge 2 ] || trap 'rm -rf "$root"' EXIT
case $archive in
*-openmpi.tar.gz) packages=openmpi-bin ;;
*-mpich.tar.gz) packages=mpich ;;
*)
  echo "bare.sh: found $archive, expected an archive whose name ends with its MPI" >&2
  exit 2
  ;;
esac
[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase "$release" "$root"

# Mounts and a copy of the root's changes end with the name space.
unshare --mount bash -euo pipefail -s "$root" "$archive" "$packages" <<'INSIDE'
root=$1 archive=$2 packages=$3
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" apt-get update -qq
chroot "$root" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends $packages >/dev/null
rm -rf "$root/unpacked"
mkdir "$root/unpacked"
tar -xzf "$archive" -C "$root/unpacked" --strip-components=1
cat > "$root/unpacked/try.sh" <<'TRY'
set -eu
cd /unpacked
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
sha256sum --quiet --check SHA256SUMS
cat BUILD
if ldd bin/reelscale | grep -E 'not found|hdf5'; then
  echo "bare.sh: the program needs more than MPI's libraries" >&2
  exit 1
fi
for program in rustc gcc h5dump; do
  if command -v $program; then echo "bare.sh: this root isn't bare" >&2; exit 1; fi
done
./jobs/demo.sh
TRY
chroot "$root" bash /unpacked/try.sh
INSIDE
echo "$(basename "$archive"): runs in a bare Debian $release with $packages"
