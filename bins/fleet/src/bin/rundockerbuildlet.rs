//! See `farmer_fleet::rundockerbuildlet`.

fn main() -> std::process::ExitCode {
    farmer_fleet::rundockerbuildlet::main(std::env::args_os().skip(1).collect())
}
