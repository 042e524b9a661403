//! The first line of a command's output when `debug` is asked for.

use std::fmt::Write as _;

/// Parts of variable names whose values are not shown.
const SECRET_PARTS: [&str; 4] = ["KEY", "TOKEN", "SECRET", "PASSWORD"];
const MASK: &str = "***";

/// The line that tells what is run, with the empty line after it. Strings are quoted as Go
/// quotes them; values of variables whose names speak of keys, tokens, secrets or passwords
/// are masked.
#[must_use]
pub fn debug_line(program: &str, args: &[String], env: &[String], dir: &str) -> String {
    let args: Vec<_> = args.iter().map(|arg| go_quote(arg)).collect();
    let env: Vec<_> = env.iter().map(|pair| go_quote(&masked(pair))).collect();
    let (args, env) = (args.join(" "), env.join(" "));
    format!(":: Running {program} with args [{args}] and env [{env}] in dir {dir}\n\n")
}

/// `NAME=value`, or `NAME=***` for names of secrets.
fn masked(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
        _ => pair.to_owned(),
    }
}

/// Whether the name of a variable says that its value is secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    SECRET_PARTS.iter().any(|part| upper.contains(part))
}

/// A string in double quotes, as Go's `%q` writes it.
#[must_use]
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ => quote_char(c, &mut out),
        }
    }
    out.push('"');
    out
}

fn quote_char(c: char, out: &mut String) {
    // The standard library's idea of what can be printed; it differs from Go's only in
    // characters that nobody puts into names of files.
    let printable = c == '\'' || c.escape_debug().len() == 1;
    match u32::from(c) {
        _ if printable => out.push(c),
        code @ ..0x80 => write!(out, "\\x{code:02x}").expect("a string takes any text"),
        code @ ..0x1_0000 => write!(out, "\\u{code:04x}").expect("a string takes any text"),
        code => write!(out, "\\U{code:08x}").expect("a string takes any text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_gos() {
        let rows = [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("say \"hi\"\\", r#""say \"hi\"\\""#),
            ("it's", r#""it's""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\x00\x1b\x7f", r#""\x00\x1b\x7f""#),
            ("\u{e9}\u{263a}\u{1f600}", "\"\u{e9}\u{263a}\u{1f600}\""),
            ("\u{200b}\u{feff}", r#""\u200b\ufeff""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ];
        for (text, quoted) in rows {
            assert_eq!(go_quote(text), quoted);
        }
    }

    #[test]
    fn the_line_tells_everything_but_secrets() {
        let args = ["/w/go/src/make.bash", "-x", "y z"].map(str::to_owned);
        let env = [
            "A=1",
            "GO_BUILD_KEY=k1",
            "Api_Token=t=2",
            "PATH=/bin",
            "odd",
        ]
        .map(str::to_owned);
        assert_eq!(
            debug_line("/w/go/src/make.bash", &args, &env, "/w/go/src"),
            ":: Running /w/go/src/make.bash with args [\"/w/go/src/make.bash\" \"-x\" \"y z\"] and env \
             [\"A=1\" \"GO_BUILD_KEY=***\" \"Api_Token=***\" \"PATH=/bin\" \"odd\"] in dir /w/go/src\n\n"
        );
    }
}
