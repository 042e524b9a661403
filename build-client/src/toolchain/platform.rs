//! The machine a toolchain is for.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// An operating system and a processor, in Rust's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    arch: String,
}

/// Go's words where they differ from Rust's.
const GO_OS: [(&str, &str); 1] = [("darwin", "macos")];
const GO_ARCH: [(&str, &str); 6] = [
    ("amd64", "x86_64"),
    ("386", "x86"),
    ("arm64", "aarch64"),
    ("ppc64", "powerpc64"),
    ("ppc64le", "powerpc64le"),
    ("loong64", "loongarch64"),
];

impl Platform {
    /// The machine that this runs on.
    pub fn here() -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: match std::env::consts::ARCH {
                // Rust's word is one for both orders of bytes.
                "powerpc64" if cfg!(target_endian = "little") => "powerpc64le",
                arch => arch,
            }
            .to_owned(),
        }
    }

    /// As in `linux` or `macos`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// As in `x86_64` or `aarch64`.
    pub fn arch(&self) -> &str {
        &self.arch
    }
}

impl fmt::Display for Platform {
    /// In Go's words, as its programs print it: `linux/amd64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |table: &[(&'static str, &str)], rust: &str| {
            let found = table.iter().find(|(_, known)| *known == rust);
            found.map_or(rust.to_owned(), |(go, _)| (*go).to_owned())
        };
        write!(
            f,
            "{}/{}",
            word(&GO_OS, &self.os),
            word(&GO_ARCH, &self.arch)
        )
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// From `linux-amd64`, `darwin/arm64` or `macos-aarch64`.
    fn from_str(text: &str) -> Result<Self> {
        let plain = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let rust = |table: &[(&str, &'static str)], word: &str| {
            let found = table.iter().find(|(go, _)| *go == word);
            found.map_or(word.to_owned(), |(_, rust)| (*rust).to_owned())
        };
        match text.split_once(['-', '/']) {
            Some((os, arch)) if plain(os) && plain(arch) => Ok(Self {
                os: rust(&GO_OS, os),
                arch: rust(&GO_ARCH, arch),
            }),
            _ => {
                let what = format!("no platform is called {text:?}; write it as linux-amd64");
                Err(Error::new(ErrorKind::Invalid, what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_go_come_back_as_they_were() {
        for word in [
            "linux/amd64",
            "darwin/arm64",
            "linux/ppc64le",
            "linux/ppc64",
            "linux/arm",
            "freebsd/386",
            "linux/s390x",
        ] {
            assert_eq!(word.parse::<Platform>().unwrap().to_string(), word);
        }
        assert!("linux".parse::<Platform>().is_err());
        assert!("linux/../x".parse::<Platform>().is_err());
        assert_eq!(
            Platform::here(),
            Platform::here().to_string().parse().unwrap()
        );
    }
}
