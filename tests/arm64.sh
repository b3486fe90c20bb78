#!/usr/bin/env bash
# Builds the program for 64-bit ARM on a Debian machine of another kind and runs, emulated by QEMU,
# the unit tests, the checks of gradients and definitions and a training run, which must have this
# machine's bits.
# `make test-arm64` installs what it wants. ARM's libraries go to the folder $1, or target/arm64.
set -eu
cd "$(dirname "$0")/.."
root=$(realpath -m "${1:-target/arm64}")
target=aarch64-unknown-linux-gnu
libraries=$root/usr/lib/aarch64-linux-gnu
openmpi=$libraries/openmpi

if [ ! -e "$libraries/libmpi.so.40" ]; then
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  debootstrap --arch=arm64 --foreign --variant=minbase --include=libhdf5-dev,libopenmpi-dev \
    "$release" "$root"
  for package in "$root"/var/cache/apt/archives/*.deb; do dpkg -x "$package" "$root"; done
fi

# The compiler driver that the mpi crate asks for what to compile and link with.
cat > "$root/mpicc" <<END
#!/bin/sh
flags="--sysroot=$root -I$openmpi/include -I$openmpi/include/openmpi -L$openmpi/lib -lmpi"
case "\$1" in
-show|--showme) echo "aarch64-linux-gnu-gcc \$flags";;
*) exec aarch64-linux-gnu-gcc "\$@" \$flags;;
esac
END
chmod +x "$root/mpicc"

export MPICC=$root/mpicc
export BINDGEN_EXTRA_CLANG_ARGS="--sysroot=$root --target=aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
found=$libraries:$openmpi/lib
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$root \
  -C link-arg=-Wl,-rpath-link,$found:$root/lib/aarch64-linux-gnu \
  -L native=$libraries -L native=$openmpi/lib -L native=$libraries/hdf5/serial"
emulator="qemu-aarch64-static -L $root -E LD_LIBRARY_PATH=$found"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$emulator
# HDF5's crate loads the library to ask for its version: it gets this machine's, which is the same
# release; the linker passes over it to ARM's.
cargo test --target $target --lib --test gradients --test definitions
cargo build --target $target
unset MPICC BINDGEN_EXTRA_CLANG_ARGS
REELSCALE_ARM64="$emulator $(realpath "${CARGO_TARGET_DIR:-target}")/$target/debug/reelscale" \
  cargo test --test emulated -- --nocapture
