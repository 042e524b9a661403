//! See `farmer_tools::gophers`.

fn main() -> std::process::ExitCode {
    farmer_tools::gophers::main(std::env::args_os().skip(1).collect())
}
