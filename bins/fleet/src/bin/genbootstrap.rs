//! See `farmer_fleet::genbootstrap`.

fn main() -> std::process::ExitCode {
    farmer_fleet::genbootstrap::main(std::env::args_os().skip(1).collect())
}
