//! See `farmer_tools::racebuild`.

fn main() -> std::process::ExitCode {
    farmer_tools::racebuild::main(std::env::args_os().skip(1).collect())
}
