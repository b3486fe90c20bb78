//! Compiles the device text as plain C++: as it stands, and without its barriers as a control.

fn main() {
    let folder = "../src/kernel";
    for (name, broken) in [("plain_device", false), ("plain_without_barriers", true)] {
        let mut build = cc::Build::new();
        build.cpp(true).cpp_link_stdlib(None).file(format!("{folder}/text/plain.cpp")).opt_level(2);
        // FMA is the processor's own; nothing else may be contracted.
        build.flag("-std=c++17").flag("-ffp-contract=off").flag("-fno-exceptions");
        build.flag_if_supported("-mfma");
        build.flag("-fno-rtti").flag("-Wno-unused-parameter").flag("-Wno-unused-local-typedefs");
        // To be run with LD_PRELOAD=$(gcc -print-file-name=libasan.so).
        if std::env::var_os("GPU_CHECK_SANITIZE").is_some() {
            build.flag("-fsanitize=address,undefined").flag("-fno-sanitize-recover=all");
            println!("cargo::rustc-link-arg=-lasan");
            println!("cargo::rustc-link-arg=-lubsan");
        }
        if broken {
            build
                .flag("-Wno-unused-function")
                .define("BARRIER()", "((void)0)")
                .define("plain_run", "plain_run_broken");
        }
        build.compile(name);
    }
    println!("cargo::rerun-if-changed={folder}");
    println!("cargo::rerun-if-env-changed=GPU_CHECK_SANITIZE");
}
