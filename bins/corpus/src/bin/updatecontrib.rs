//! `updatecontrib` on its own.
fn main() -> std::process::ExitCode {
    farmer_corpus::updatecontrib::main(std::env::args_os().skip(1).collect())
}
