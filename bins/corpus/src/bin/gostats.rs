//! `gostats` on its own.
fn main() -> std::process::ExitCode {
    farmer_corpus::gostats::main()
}
