"""reelscale, built by Spack from the checkout that this file lies in (INSTALL.md, "Spack")."""

from pathlib import Path

from spack_repo.builtin.build_systems.cargo import CargoPackage

from spack.package import *

CHECKOUT = Path(__file__).resolve().parents[5]


class Reelscale(CargoPackage):
    """Trains video annotators too large for one machine: mixtures of experts over shared layers,
    on MPI, with the same bits on any number of ranks and threads."""

    git = CHECKOUT.as_uri()

    license("Apache-2.0")

    version("main", branch="main")

    variant("mpi", default=True, description="Ranks as processes of MPI, beside those as threads")
    variant("static-hdf5", default=False, description="HDF5 and zlib built from crates' sources")

    # rust-version in Cargo.toml. Some crates hold C.
    depends_on("rust@1.89:", type="build")
    depends_on("c", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("mpi", when="+mpi")
    # Reads the headers of MPI.
    depends_on("llvm+clang", type="build", when="+mpi")

    # One process reads a shard: the serial library.
    depends_on("hdf5@1.10.4:1.14 +shared~mpi", when="~static-hdf5")
    depends_on("cxx", type="build", when="+static-hdf5")
    depends_on("cmake@3.26:", type="build", when="+static-hdf5")

    def setup_build_environment(self, env: EnvironmentModifications) -> None:
        if self.spec.satisfies("+mpi"):
            env.set("MPICC", self.spec["mpi"].mpicc)
            env.set("LIBCLANG_PATH", self.spec["llvm"].prefix.lib)
        if self.spec.satisfies("~static-hdf5"):
            env.set("HDF5_DIR", self.spec["hdf5"].prefix)

    @property
    def build_args(self):
        features = [name for name in ("mpi", "static-hdf5") if self.spec.satisfies("+" + name)]
        return ["--locked", "--no-default-features", "--features", ",".join(features)]

    def check(self):
        """What takes a minute rather than an hour (CONTRIBUTING.md has the rest)."""
        with working_dir(self.stage.source_path):
            Executable("out/bin/reelscale")("doctor")

    @run_after("install")
    def pages_and_completions(self):
        program = Executable(self.prefix.bin.reelscale)
        for what, folder in (
            ("man", self.prefix.share.man.man1),
            ("complete-bash", join_path(self.prefix.share, "bash-completion", "completions")),
            ("complete-zsh", join_path(self.prefix.share, "zsh", "site-functions")),
            ("complete-fish", join_path(self.prefix.share, "fish", "vendor_completions.d")),
        ):
            program("generate", what, "--output", folder)
