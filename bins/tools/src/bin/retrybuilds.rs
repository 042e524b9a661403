//! See `farmer_tools::retrybuilds`.

fn main() -> std::process::ExitCode {
    farmer_tools::retrybuilds::main(std::env::args_os().skip(1).collect())
}
