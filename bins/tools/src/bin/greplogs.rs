//! See `farmer_tools::greplogs`.

fn main() -> std::process::ExitCode {
    farmer_tools::greplogs::main(std::env::args_os().skip(1).collect())
}
