//! See `farmer_tools::fetchlogs`.

fn main() -> std::process::ExitCode {
    farmer_tools::fetchlogs::main(std::env::args_os().skip(1).collect())
}
