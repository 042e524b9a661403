//! See `farmer_fleet::testssh`.

fn main() -> std::process::ExitCode {
    farmer_fleet::testssh::main(std::env::args_os().skip(1).collect())
}
