//! See `farmer_tools::updatestd`.

fn main() -> std::process::ExitCode {
    farmer_tools::updatestd::main(std::env::args_os().skip(1).collect())
}
