//! See `farmer_tools::gomote`.

fn main() -> std::process::ExitCode {
    farmer_tools::gomote::main(std::env::args_os().skip(1).collect())
}
