//! All programs of the group in one: by the name it was started by, or by the first argument.

fn main() -> std::process::ExitCode {
    farmer_cli::multi_call("farmer-servers", farmer_servers::PROGRAMS)
}
