//! Keeps starting a command cheap in the static program.
//!
//! The standard library starts processes by `posix_spawn`, which does not copy the page tables of
//! this process, when it finds these two functions. It asks for them weakly, and a weak reference
//! alone takes nothing out of a static C library: without this it would fork.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        for symbol in [
            "gnu_get_libc_version",
            "posix_spawn_file_actions_addchdir_np",
        ] {
            println!("cargo::rustc-link-arg-bins=-Wl,-u,{symbol}");
        }
    }
}
