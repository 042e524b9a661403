//! See `farmer_tools::rmplaysnippet`.

fn main() -> std::process::ExitCode {
    farmer_tools::rmplaysnippet::main(std::env::args_os().skip(1).collect())
}
