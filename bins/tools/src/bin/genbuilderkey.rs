//! See `farmer_tools::genbuilderkey`.

fn main() -> std::process::ExitCode {
    farmer_tools::genbuilderkey::main(std::env::args_os().skip(1).collect())
}
