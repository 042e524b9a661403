//! See `farmer_tools::gerritctl`.

fn main() -> std::process::ExitCode {
    farmer_tools::gerritctl::main(std::env::args_os().skip(1).collect())
}
