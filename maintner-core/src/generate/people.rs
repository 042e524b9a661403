//! The people of a log, as git names and as GitHub users.

use super::rng::{Rng, Stream};
use super::text::Vocabulary;
use crate::pb::GithubUser;

const AUTHORS: usize = 3_000;
const USERS: u64 = 20_000;
const ZONES: [&str; 12] = [
    "-0800", "-0700", "-0500", "-0400", "+0000", "+0100", "+0200", "+0300", "+0530", "+0800",
    "+0900", "+1100",
];

/// Where Gerrit accounts live; also the server's own identity.
const ACCOUNTS: &str = "62eb7196-b449-3ce5-99f1-c037f21e1705";

/// A person with a git identity and a Gerrit account.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) email: String,
    pub(super) account: u64,
    pub(super) zone: &'static str,
}

impl Person {
    /// As in commits.
    pub(super) fn git(&self) -> String {
        format!("{} <{}>", self.name, self.email)
    }

    /// As in Gerrit's own commits.
    pub(super) fn gerrit(&self) -> String {
        format!("{} <{}@{ACCOUNTS}>", self.name, self.account)
    }
}

/// Everybody.
#[derive(Debug)]
pub(super) struct People {
    authors: Vec<Person>,
    logins: Vec<String>,
}

impl People {
    pub(super) fn new(seed: u64, vocabulary: &Vocabulary) -> Self {
        let mut rng = Rng::new(seed, Stream::People, 0);
        let authors = (0..AUTHORS)
            .map(|i| person(&mut rng, vocabulary, i))
            .collect();
        let logins = (0..USERS)
            .map(|i| format!("{}{i}", rng.pick(&["go", "x", "dev", "u-"])))
            .collect();
        Self { authors, logins }
    }

    /// An author; a few write most.
    pub(super) fn author(&self, rng: &mut Rng) -> &Person {
        let index = rng.skewed(AUTHORS as u64);
        &self.authors[usize::try_from(index).expect("below AUTHORS")]
    }

    /// The committer of Gerrit's own commits.
    pub(super) fn server() -> String {
        format!("Gerrit Code Review <noreply-gerritcodereview@{ACCOUNTS}>")
    }

    /// The id of a user.
    pub(super) fn user_id(&self, rng: &mut Rng) -> i64 {
        1_000 + 37 * rng.skewed(USERS).cast_signed()
    }

    /// A user with id and login; rarely one who has just changed the login.
    pub(super) fn user(&self, rng: &mut Rng) -> GithubUser {
        let index = usize::try_from(rng.skewed(USERS)).expect("below USERS");
        let mut login = self.logins[index].clone();
        if rng.chance(500) {
            login.push_str("-renamed");
        }
        GithubUser {
            id: 1_000 + 37 * index as i64,
            login,
        }
    }
}

fn person(rng: &mut Rng, vocabulary: &Vocabulary, index: usize) -> Person {
    let mut name = String::new();
    for part in 0..2 {
        let word = vocabulary.word(rng.index(4_000));
        let mut letters = word.chars();
        if part == 1 {
            name.push(' ');
        }
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
    }
    let host = rng.pick(&["golang.org", "google.com", "gmail.com", "example.org"]);
    let email = format!("{}{index}@{host}", vocabulary.word(rng.index(4_000)));
    Person {
        name,
        email,
        account: 5_000 + 3 * index as u64,
        zone: rng.pick(&ZONES),
    }
}
