//! See `farmer_tools::buildstats`.

fn main() -> std::process::ExitCode {
    farmer_tools::buildstats::main(std::env::args_os().skip(1).collect())
}
