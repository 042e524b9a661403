//! What an archive may contain and how much of it.

/// How symbolic and hard links are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Links {
    /// Written after all files, when they stay inside the directory; else the archive is refused.
    Inside,
    /// Written after all files as they are, wherever a symbolic one points: git makes such trees, and
    /// so do tools. None is followed out: an entry whose way leads outside through a link ends the
    /// unpacking, and a hard link is one to a file inside.
    Anywhere,
    /// As the Go buildlet of 2020 does: symbolic links are left out, a hard link becomes an empty file.
    Skip,
    /// The archive is refused.
    Refuse,
}

/// Which rule decides about entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Names {
    /// Relative and, after cleaning, not above the directory: `a/../b` is `b`.
    Clean,
    /// As in 2020: no `../` anywhere.
    Go2020,
}

/// Bounds on what one archive may cost. The defaults fit a large source tree with its build output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries of any kind. Default 4,000,000.
    pub entries: u64,
    /// Bytes of the uncompressed archive, headers and skipped content included. Default 64 GiB.
    pub total_bytes: u64,
    /// Bytes of one file. Default 32 GiB.
    pub file_bytes: u64,
    /// Components of a path. Default 256.
    pub depth: usize,
    /// Uncompressed bytes per compressed byte, judged once `ratio_from` bytes came out. Default 200.
    pub ratio: u64,
    /// Where the judgement by `ratio` begins. Default 256 MiB: a bomb costs at most that.
    pub ratio_from: u64,
    /// Bytes of names and targets of links, which are kept until all files are written. Default 64 MiB.
    pub link_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            total_bytes: 64 << 30,
            file_bytes: 32 << 30,
            depth: 256,
            ratio: 200,
            ratio_from: 256 << 20,
            link_bytes: 64 << 20,
        }
    }
}

/// What [`Untar`](super::Untar) does with each kind of entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(crate) links: Links,
    pub(crate) names: Names,
    pub(crate) backslash: bool,
    pub(crate) windows_names: bool,
    pub(crate) global_headers: bool,
    pub(crate) limits: Limits,
}

impl Default for Policy {
    /// Links inside the directory, clean names, global headers ignored.
    fn default() -> Self {
        Self {
            links: Links::Inside,
            names: Names::Clean,
            backslash: false,
            windows_names: cfg!(windows),
            global_headers: true,
            limits: Limits::default(),
        }
    }
}

impl Policy {
    /// Trees as git and tools make them, with links that point anywhere: what a buildlet unpacks.
    /// Whoever reads the directory afterwards must follow none of them, see
    /// [`Beneath`](crate::tree::Beneath).
    pub fn trees() -> Self {
        Self::default().links(Links::Anywhere)
    }

    /// The Go buildlet's `/writetgz` of 2020: links are not made, names by its rule.
    pub fn go2020() -> Self {
        Self {
            links: Links::Skip,
            names: Names::Go2020,
            ..Self::default()
        }
    }

    /// The Go `internal/untar` of 2020: links and global headers are errors.
    pub fn plain_files() -> Self {
        Self {
            links: Links::Refuse,
            names: Names::Go2020,
            global_headers: false,
            ..Self::default()
        }
    }

    /// With this treatment of links.
    #[must_use]
    pub fn links(self, links: Links) -> Self {
        Self { links, ..self }
    }

    /// With these bounds.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Whether a name may hold a backslash (as some trees of systemd units do). Default no: the
    /// same archive would mean another path on Windows.
    #[must_use]
    pub fn backslash(self, allowed: bool) -> Self {
        Self {
            backslash: allowed,
            ..self
        }
    }

    /// Whether names are refused that Windows reserves or changes. Default only on Windows.
    #[must_use]
    pub fn windows_names(self, refused: bool) -> Self {
        Self {
            windows_names: refused,
            ..self
        }
    }
}
