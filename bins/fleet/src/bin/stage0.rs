//! See `farmer_fleet::stage0`.

fn main() -> std::process::ExitCode {
    farmer_fleet::stage0::main(std::env::args_os().skip(1).collect())
}
