//! Every toolchain by its own name, in one program: by the name it was started by, or by the first
//! argument.

fn main() -> std::process::ExitCode {
    farmer_toolchain::start(std::env::args_os().collect())
}
