//! `relnote` on its own.
fn main() -> std::process::ExitCode {
    farmer_corpus::relnote::main(std::env::args_os().skip(1).collect())
}
