//! See `farmer_corpus::gopherstats`.

fn main() -> std::process::ExitCode {
    farmer_corpus::gopherstats::main(std::env::args_os().skip(1).collect())
}
