#!/usr/bin/env bash
# Builds the stand-in for CUDA's driver (README.md), FOLDER/libcuda.so, of the kernels in KERNELS
# (default: the program's).
#
#   build.sh FOLDER [KERNELS [OPTION...]]
set -eu
folder=${1:?folder}
own=$(cd "$(dirname "$0")" && pwd)
kernels=${2:-$own/../../src/kernel}
shift $(($# > 1 ? 2 : 1))
case $(uname -m) in x86_64) set -- -mfma "$@" ;; esac
# FMA is the processor's own; nothing else may be contracted. By its soname whoever has loaded it
# from anywhere gets it for libcuda.so.
exec g++ -std=c++17 -O2 -shared -fPIC -fvisibility=hidden -ffp-contract=off -fno-exceptions \
  -fno-rtti -Wl,-soname,libcuda.so "$@" -o "$folder/libcuda.so" "$own"/*.cpp \
  "$kernels/text/plain.cpp"
