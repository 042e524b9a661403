//! See `farmer_fleet::xb`.

fn main() -> std::process::ExitCode {
    farmer_fleet::xb::main(std::env::args_os().skip(1).collect())
}
