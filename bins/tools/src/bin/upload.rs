//! See `farmer_tools::upload`.

fn main() -> std::process::ExitCode {
    farmer_tools::upload::main(std::env::args_os().skip(1).collect())
}
