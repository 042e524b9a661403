//! See `farmer_tools::gitauth`.

fn main() -> std::process::ExitCode {
    farmer_tools::gitauth::main(std::env::args_os().skip(1).collect())
}
