//! `maintq` on its own.
fn main() -> std::process::ExitCode {
    farmer_corpus::maintq::main()
}
