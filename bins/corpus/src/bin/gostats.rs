//! `gostats` on its own.
fn main() -> std::process::ExitCode {
    farmer_corpus::gostats::main(std::env::args_os().skip(1).collect())
}
