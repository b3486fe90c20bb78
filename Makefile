# Two commands matter: `make demo` runs the main job, `make test` passes the tests.
# Each installs what it needs where apt is there.

PACKAGES = openmpi-bin libopenmpi-dev libclang-dev libhdf5-dev hdf5-tools pkg-config gcc libc6-dev \
           python3-h5py
# What only tests need.
TEST_PACKAGES = slurm-wlm munge qemu-user-static libhwloc-plugins strace mpich libmpich-dev \
                chromium $(GPU_PACKAGES)
# What comparing the kernels for GPUs needs, without a GPU; pip brings NVRTC.
GPU_PACKAGES = g++ pocl-opencl-icd ocl-icd-libopencl1 python3 python3-pip
# libFuzzer is C++ and comes as source with its crate.
FUZZ_PACKAGES = g++
ARM64_PACKAGES = gcc-aarch64-linux-gnu debootstrap
SERIAL_HDF5 = $(firstword $(wildcard /usr/lib/*-linux-gnu/hdf5/serial))

# Beside the parallel HDF5, pkg-config finds that one: name the serial one where Debian keeps it.
ifneq ($(SERIAL_HDF5),)
export HDF5_DIR ?= $(SERIAL_HDF5)
endif
# Open MPI refuses root and more ranks than cores unless it is told otherwise.
export OMPI_ALLOW_RUN_AS_ROOT = 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = 1
export OMPI_MCA_mpi_yield_when_idle = 1
# mpirun would load OpenCL to look for devices, and where PoCL is installed LLVM, which takes SIGUSR1
# for itself.
export HWLOC_COMPONENTS ?= -opencl

.PHONY: build install demo test test-fast test-arm64 test-flips test-hostile test-hosts test-kill test-mpich test-slurm simulate overlap fuzz \
        test-threads test-valgrind test-wheel test-dist check check-macos bench gpu-check gpu-bundle wheel ptx \
        dist install-built install-deps

build: install-deps
	cargo build --release

# The program, its manual pages and its completions: make install PREFIX=$HOME/.local
install: PREFIX ?= /usr/local
install: build
	$(MAKE) install-built PREFIX=$(PREFIX)

# The same of a program that is built.
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release
install-built: PREFIX ?= /usr/local
install-built:
	install -D $(RELEASE)/reelscale $(DESTDIR)$(PREFIX)/bin/reelscale
	cd $(DESTDIR)$(PREFIX) && bin/reelscale generate man --output share/man/man1 && \
	  bin/reelscale generate complete-bash --output share/bash-completion/completions && \
	  bin/reelscale generate complete-zsh --output share/zsh/site-functions && \
	  bin/reelscale generate complete-fish --output share/fish/vendor_completions.d && \
	  bin/reelscale generate job-reference --output share/doc/reelscale

demo: build
	./jobs/demo.sh

test: PACKAGES += $(TEST_PACKAGES)
# test-mpich comes before what leaves the programs of Open MPI.
test: check test-threads check-macos test-mpich gpu-check
	tests/all.sh

# In a minute once built: units, bits, gradients, definitions, what input may be.
test-fast: install-deps
	cargo test --lib --test tidy --test pinned --test definitions --test gradients --test hostile_calls \
	  --test job_file --test metrics --test comm --test csv --test records \
	  --test corpora --test facade --test shards --test odd_shards --test seal --test models --test standard

# Without MPI, where ranks are threads, and not optimised, on which no bit may depend: what of the
# tests is fast so.
NO_MPI = --no-default-features --config profile.dev.package.reelscale.opt-level=0
test-threads: install-deps
	cargo test $(NO_MPI) --test gradients --test metrics --test comm --test threads
	cargo test $(NO_MPI) --test pinned jobs_on_frames

# Whether it compiles for laptops with macOS; headers are this machine's. Nothing is linked, so no
# compiler for the C and assembly within dependencies needs to be here: `true` stands for it.
check-macos: install-deps
	@if timeout 180 rustup target add aarch64-apple-darwin >/dev/null 2>&1; then \
	  CC_aarch64_apple_darwin=true AR_aarch64_apple_darwin=true \
	    cargo check --target aarch64-apple-darwin --no-default-features; \
	else echo "skipped: rustup can't install the target aarch64-apple-darwin here"; fi

# Only the scripts of slurm/, on a Slurm of four nodes that is started on this machine.
test-slurm: PACKAGES += $(TEST_PACKAGES)
test-slurm: install-deps
	cargo test --test slurm -- --nocapture --test-threads=1

# Ranks of a program that is built with MPICH, under its mpirun: pinned weights, stops, lost ranks,
# errors, and launchers that are another MPI's. Cargo doesn't see what MPICC says: by another level of
# optimisation mpi-sys, and what stands on it, is built once more beside what Open MPI has; the other
# crates are shared.
MPICH = --config profile.dev.package.mpi-sys.opt-level=1 \
        --config profile.dev.package.reelscale.opt-level=0
test-mpich: PACKAGES += mpich libmpich-dev
test-mpich: export MPICC = mpicc.mpich
test-mpich: export REELSCALE_MPIRUN = mpirun.mpich
test-mpich: install-deps
	cargo build $(MPICH) --example fail
	cargo test $(MPICH) --test installed launchers
	cargo test $(MPICH) --test faults ranks_fail_together

# Four hosts on this machine, whose links are slowed and cut; Linux only, as root.
test-hosts: PACKAGES += iproute2
test-hosts: install-deps
	REELSCALE_HOSTS=1 cargo test --test hosts -- --nocapture --test-threads=1

# How much of the traffic hides behind work on 2 to 16 ranks of four slow hosts, half an hour; Debian
# only, as root.
overlap: PACKAGES += iproute2
overlap: install-deps
	cargo build --release
	./tests/hosts/overlap.sh target/release/reelscale

# Builds for 64-bit ARM and runs that, emulated; Debian only, as root, 10 minutes.
test-arm64: PACKAGES += $(TEST_PACKAGES) $(ARM64_PACKAGES)
test-arm64: install-deps
	rustup target add aarch64-unknown-linux-gnu
	./tests/arm64.sh

# Whole runs in a simulated world (docs/simulator.md), or one of them, SEED, point by point.
simulate: install-deps
	REELSCALE_SIMULATE=$(SCHEDULES) REELSCALE_SIMULATE_SEED=$(SEED) cargo test --release \
	  --test simulator schedules_end -- --nocapture

# Kills ranks at random moments of 200 runs; `make test` does so in 20.
test-kill: install-deps
	REELSCALE_KILL_SEEDS=$${SEEDS:-200} cargo test --test stops killed -- --nocapture

# Kernels under valgrind's memcheck, which knows no AVX-512: none reads or writes beyond its slices.
KERNELS ?= plain,avx2
CASES ?= 8
test-valgrind: PACKAGES += valgrind
test-valgrind: install-deps
	REELSCALE_KERNELS=$(KERNELS) REELSCALE_CASES=$(CASES) cargo test --test definitions \
	  --config 'target."cfg(all())".runner = ["valgrind", "--error-exitcode=9"]' \
	  -- --test-threads=1

# Flips every bit of small files, of which `make test` flips a share; docs/trust.md has the figures.
test-flips: install-deps
	REELSCALE_FLIPS=all cargo test --test flips --test shard_flips -- --nocapture

# Tries every change of what checkpoints say, of which `make test` tries a share.
test-hostile: install-deps
	REELSCALE_MUTATIONS=all cargo test --test hostile_checkpoints -- --nocapture

# Fuzzes each reader of foreign bytes for so many seconds with libFuzzer; `make test` replays the corpus.
SECONDS ?= 60
fuzz: PACKAGES += $(FUZZ_PACKAGES)
fuzz: install-deps
	fuzz/run.sh $(SECONDS) $(TARGETS)

# This machine's figures for BENCHMARKS.md; the comparison wants PyTorch and says so where it is absent.
bench: build
	for part in gemm mixture "mixture --stage 2" input sum metrics train; do \
	  target/release/reelscale bench $$part || exit 1; done
	cargo bench --bench kernels
	python3 benches/compare.py

# The kernels for GPUs beside the processor's, bit by bit, as plain C++ and on PoCL, with controls that
# must differ; no GPU is needed (gpu-check/README.md).
gpu-check: PACKAGES = $(GPU_PACKAGES)
gpu-check: install-deps
	cd gpu-check && cargo fmt --check && cargo build --release
	gpu-check/check.sh

# What compares and measures on a machine with a GPU (gpu-check/run.sh), into build/gpu-bundle: it
# needs nothing there but a driver, so HDF5 is built into it, which wants a newer CMake than Debian's,
# and ranks are threads.
BUNDLE_FOLDER = $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/gpu-bundle
gpu-bundle: PACKAGES = gcc g++ libc6-dev python3 python3-pip
gpu-bundle: install-deps
	$(call brought,cmake==3.31.6)
	env -u HDF5_DIR CMAKE=$(BUNDLE_FOLDER)/cmake/cmake/data/bin/cmake \
	  cargo build --release --no-default-features --features static-hdf5 \
	  --target-dir $(BUNDLE_FOLDER) --bin reelscale --example pinned_jobs
	cd gpu-check && cargo build --release --target-dir $(BUNDLE_FOLDER)
	gpu-check/bundle.sh $(CURDIR)/build/gpu-bundle $(BUNDLE_FOLDER)/release

# The package for Python, into build/wheel: the program as that bundle has it, and python/. It asks for
# the glibc of this machine, or a newer one.
wheel: PACKAGES = gcc g++ libc6-dev python3 python3-pip
wheel: install-deps
	$(call brought,cmake==3.31.6)
	$(call brought,maturin==1.16.0)
	rm -rf build/wheel
	env -u HDF5_DIR CMAKE=$(BUNDLE_FOLDER)/cmake/cmake/data/bin/cmake \
	  $(BUNDLE_FOLDER)/maturin/bin/maturin build --release --out build/wheel \
	  --target-dir $(BUNDLE_FOLDER)

# That wheel in an environment that has nothing else.
test-wheel: wheel
	tests/python/wheel.sh build/wheel/reelscale-*.whl

# A release archive, build/reelscale-VERSION-....tar.gz: HDF5 is built into its program, which needs
# no libraries but MPI's. MPICC=mpicc.mpich make dist takes MPICH. What was built with one MPI knows
# nothing of another compiler's name, so each has a folder.
DIST_FOLDER = $(BUNDLE_FOLDER)$(addprefix -,$(notdir $(MPICC)))
dist: PACKAGES = openmpi-bin libopenmpi-dev libclang-dev pkg-config gcc g++ libc6-dev binutils \
                 python3 python3-pip
dist: install-deps
	packaging/version.sh
	$(call brought,cmake==3.31.6)
	env -u HDF5_DIR CMAKE=$(BUNDLE_FOLDER)/cmake/cmake/data/bin/cmake \
	  cargo build --release --features static-hdf5 --target-dir $(DIST_FOLDER) --bin reelscale
	packaging/dist.sh $(DIST_FOLDER)/release/reelscale build

# That archive in a Debian that has nothing but Open MPI, and the steps of the container's recipe in a
# bare Debian; Debian only, as root, half an hour.
test-dist: PACKAGES += debootstrap
test-dist: dist
	tests/packages/bare.sh build/reelscale-*-openmpi.tar.gz
	tests/packages/apptainer.sh openmpi

# Brings a package of PyPI into a folder of its name.
brought = [ -e $(BUNDLE_FOLDER)/$(firstword $(subst =, ,$(1))) ] || python3 -m pip install --quiet \
  --disable-pip-version-check --target $(BUNDLE_FOLDER)/$(firstword $(subst =, ,$(1))) $(1)

# Their PTX for NVIDIA GPUs, without one: wants nvidia-cuda-nvrtc 13.0 from PyPI.
ptx:
	python3 src/kernel/text/ptx.py

check: install-deps
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# Installs only what is missing; where there is no apt it says what to install.
install-deps:
	@missing=; for package in $(PACKAGES); do \
	  dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	  command -v mpirun >/dev/null && command -v h5cc >/dev/null && exit 0; \
	  echo "install Open MPI 4, HDF5 1.10 or newer and libclang, with headers (Debian:$$missing)"; \
	  exit 1; fi; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y --no-install-recommends $$missing
