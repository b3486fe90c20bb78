#!/usr/bin/env bash
# Runs the steps of packaging/apptainer.def, stage by stage, in bare Debian roots, where Apptainer
# itself isn't there: what %files copies, %post, %runscript and %test. What they can't show is what
# Apptainer makes of the recipe.
#
#   apptainer.sh openmpi|mpich [ROOT]    as root; ROOT/stage-N are made where they aren't there, and kept
#
# This machine's Rust and what Cargo has brought are lent to the stage that builds, which optimises
# nothing here: the steps are what is checked.
set -euo pipefail
mpi=${1:?openmpi or mpich}
cd "$(dirname "$0")/../.."
recipe=packaging/apptainer.def
roots=${2:-$(mktemp -d)}
[ $# -ge 2 ] || trap 'rm -rf "$roots"' EXIT
mkdir -p "$roots"

# section STAGE NAME: its lines, where NAME is as in %post or %files.
section() {
  awk -v stage="$1" -v name="$2" '
    /^Bootstrap:/ { number++; inside = 0 }
    /^%/ { inside = number == stage && ($0 == "%" name || index($0, "%" name " ") == 1); next }
    inside { sub(/^    /, ""); print }' "$recipe" | sed "s/{{ MPI }}/$mpi/g"
}

for stage in 1 2; do
  image=$(grep '^From:' "$recipe" | sed -n "${stage}s/From: debian:\(.*\)-slim/\1/p")
  root=$roots/stage-$stage
  [ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase "$image" "$root"
  from=.
  [ $stage = 1 ] || from=$roots/stage-1
  # What was built for another MPI isn't built anew.
  rm -rf "$root/source"
  section $stage files | while read -r source target; do
    case $source in '' | '#'*) continue ;; esac
    rm -rf "${root:?}$target"
    mkdir -p "$(dirname "$root$target")"
    cp -r "$from/$source" "$root$target"
  done
  { section $stage environment; section $stage post; } > "$root/post.sh"
  { section $stage environment; section $stage test; } > "$root/test.sh"
  { echo '#!/bin/sh'; section $stage environment; section $stage runscript; } > "$root/run.sh"
  chmod +x "$root/run.sh"
  # Mounts end with the name space.
  unshare --mount bash -euo pipefail -s "$root" "$stage" <<'INSIDE'
root=$1 stage=$2
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
cp /etc/resolv.conf "$root/etc/resolv.conf"
if [ "$stage" = 1 ]; then
  mkdir -p "$root/root/.cargo" "$root/root/.rustup"
  mount --bind "${CARGO_HOME:-$HOME/.cargo}" "$root/root/.cargo"
  mount --bind "${RUSTUP_HOME:-$HOME/.rustup}" "$root/root/.rustup"
fi
inside="chroot $root env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
inside="$inside CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off"
inside="$inside CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16"
$inside sh /post.sh
if [ "$stage" = 2 ]; then
  $inside sh -eu /test.sh
  $inside /run.sh synthesize --rows 50 --classes 5 --features 8 --output /tmp/shards-$$
  printf '[data]\ntrain = ["/tmp/shards-%s/*.h5"]\n' $$ > "$root/tmp/job.toml"
  allow="OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
  # Open MPI doesn't start more ranks than there are cores unless told so.
  $inside $allow PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe \
    mpirun -n 2 /run.sh train /tmp/job.toml --output /tmp/run-$$
fi
INSIDE
done
echo "apptainer.def: the steps of both stages end well, with $mpi"
