//! People by any of their names: full name, GitHub user, e-mail addresses, Gerrit accounts.
//!
//! The data is the project's own, in TOML files; none is shipped.
//! ```
//! use build_client::gophers::People;
//! let people = People::parse("people.toml", r#"
//!     [[person]]
//!     name = "Ann X"
//!     github = ["annx"]
//!     emails = ["ann@example.test"]
//!     tags = ["org:example"]
//! "#)?;
//! assert_eq!(people.get("@AnnX").unwrap().name, "Ann X");
//! assert!(people.get("ann@example.test").unwrap().has_tag("org:example"));
//! # Ok::<(), build_client::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::{Error, ErrorKind, Result};

/// The tag of those who work, or worked, for Google.
pub const GOOGLE: &str = "org:google";
/// The tag of robots.
pub const BOT: &str = "bot";

/// A person, or a robot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Full name.
    pub name: String,
    /// GitHub user, as it is written there, without `@`.
    pub github: String,
    /// The address of their Gerrit account, in lower case.
    pub gerrit: String,
    /// All addresses, in lower case, in the order given.
    pub emails: Vec<String>,
    /// What else is known, such as `org:google` or `bot`.
    pub tags: BTreeSet<String>,
}

impl Person {
    /// Whether they have this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.contains(tag)
    }

    /// Whether it is a robot.
    #[must_use]
    pub fn is_bot(&self) -> bool {
        self.has_tag(BOT)
    }
}

/// Something wrong in the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: `FILE:LINE`; empty for records that no file holds.
    pub place: String,
    /// What.
    pub text: String,
}

/// Everybody.
#[derive(Clone, Debug, Default)]
pub struct People {
    people: Vec<Person>,
    /// Lower-case id to person, and where it was said.
    index: HashMap<String, (usize, String)>,
    gomote: BTreeMap<String, String>,
    faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataFile {
    #[serde(default)]
    person: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: Spanned<String>,
    #[serde(default)]
    github: Vec<Spanned<String>>,
    #[serde(default)]
    emails: Vec<Spanned<String>>,
    #[serde(default)]
    gerrit_ids: Vec<Spanned<String>>,
    #[serde(default)]
    gomote: Vec<Spanned<String>>,
    #[serde(default)]
    tags: Vec<String>,
}

/// Whether an id is a number at an instance of Gerrit, as its commits have it: no address that
/// anybody reads.
fn is_gerrit_id(id: &str) -> bool {
    id.split_once('@').is_some_and(|(number, instance)| {
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && !instance.contains('.')
    })
}

fn is_group_id(id: &str) -> bool {
    id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

impl People {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the data of one file, whose name stands in errors. What is wrong with the data, not
    /// with its form, is in [`People::faults`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is not TOML, or has a key that is not known.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let mut people = Self::new();
        people.read(file, text)?;
        Ok(people)
    }

    /// Reads files, one after the other, into one.
    ///
    /// # Errors
    /// Those of [`People::parse`], and [`ErrorKind::NotFound`] for a file that cannot be read.
    pub fn load(files: &[impl AsRef<Path>]) -> Result<Self> {
        let mut people = Self::new();
        for file in files {
            let name = file.as_ref().display().to_string();
            let text = std::fs::read_to_string(file.as_ref()).map_err(|error| {
                Error::caused_by(ErrorKind::NotFound, format!("reading {name}"), error)
            })?;
            people.read(&name, &text)?;
        }
        Ok(people)
    }

    fn read(&mut self, file: &str, text: &str) -> Result<()> {
        let data: DataFile = toml::from_str(text).map_err(|error| {
            Error::caused_by(ErrorKind::Invalid, format!("people in {file}"), error)
        })?;
        let place = |span: std::ops::Range<usize>| {
            format!(
                "{file}:{}",
                text[..span.start.min(text.len())].matches('\n').count() + 1
            )
        };
        for record in data.person {
            let number = self.people.len();
            self.people.push(Person {
                name: record.name.get_ref().clone(),
                ..Person::default()
            });
            self.claim(number, record.name.get_ref(), place(record.name.span()));
            for github in &record.github {
                let user = github.get_ref().trim_start_matches('@');
                if !user.contains('/') {
                    user.clone_into(&mut self.people[number].github);
                }
                self.claim(number, &format!("@{user}"), place(github.span()));
            }
            for email in &record.emails {
                if !email.get_ref().contains('@') {
                    self.faults.push(Fault {
                        place: place(email.span()),
                        text: format!("{:?} is no address", email.get_ref()),
                    });
                    continue;
                }
                self.add_email(number, email.get_ref());
                self.claim(number, email.get_ref(), place(email.span()));
            }
            for id in &record.gerrit_ids {
                self.claim(number, id.get_ref(), place(id.span()));
            }
            for user in &record.gomote {
                let github = self.people[number].github.clone();
                if github.is_empty() {
                    let text = format!(
                        "gomote user {:?} of somebody without a GitHub user",
                        user.get_ref()
                    );
                    self.faults.push(Fault {
                        place: place(user.span()),
                        text,
                    });
                }
                self.gomote.insert(user.get_ref().clone(), github);
            }
            self.people[number].tags.extend(record.tags);
        }
        Ok(())
    }

    fn add_email(&mut self, number: usize, email: &str) {
        let email = email.to_lowercase();
        let person = &mut self.people[number];
        if person.gerrit.is_empty() && !is_gerrit_id(&email) {
            person.gerrit.clone_from(&email);
        }
        if !person.emails.contains(&email) {
            person.emails.push(email);
        }
    }

    /// Gives an id to a person; two persons with one id are a fault, and the first keeps it.
    fn claim(&mut self, number: usize, id: &str, place: String) {
        let key = id.to_lowercase();
        match self.index.get(&key) {
            Some((owner, _)) if *owner == number => {}
            Some((owner, first)) => {
                let text = format!("{id:?} is {} too, at {first}", self.people[*owner].name);
                self.faults.push(Fault { place, text });
            }
            None => {
                self.index.insert(key, (number, place));
            }
        }
    }

    /// Adds what is known of somebody as a list of ids, as the Go project's list has it: names,
    /// addresses, `@github`, `*goog`, `*bot`. They are the first existing person with one of
    /// the ids, or a new one. Ids that belonged to somebody else go to them; that is told in
    /// [`People::faults`].
    pub fn add(&mut self, ids: &[&str]) -> &Person {
        let known = ids.iter().find_map(|id| {
            self.index
                .get(&id.to_lowercase())
                .map(|(number, _)| *number)
        });
        let number = known.unwrap_or_else(|| {
            self.people.push(Person::default());
            self.people.len() - 1
        });
        for id in ids {
            let key = id.to_lowercase();
            match *id {
                "*goog" => {
                    self.people[number].tags.insert(GOOGLE.to_owned());
                    continue;
                }
                "*bot" => {
                    self.people[number].tags.insert(BOT.to_owned());
                    continue;
                }
                id if is_group_id(id) => {}
                id if id.starts_with('@') => {
                    if !id.contains('/') {
                        id[1..].clone_into(&mut self.people[number].github);
                    }
                }
                id if id.contains('@') => {
                    self.add_email(number, id);
                    if key.ends_with("@golang.org") || key.ends_with("@google.com") {
                        self.people[number].tags.insert(GOOGLE.to_owned());
                    }
                }
                name => name.clone_into(&mut self.people[number].name),
            }
            if let Some((owner, _)) = self.index.insert(key, (number, String::new()))
                && owner != number
            {
                let text = format!("{id:?} was {:?} before", self.people[owner].name);
                self.faults.push(Fault {
                    place: String::new(),
                    text,
                });
            }
        }
        &self.people[number]
    }

    /// The person with this id, in any case of letters: full name, `@github`, `@org/team`,
    /// address, Gerrit account.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Person> {
        self.index
            .get(&id.to_lowercase())
            .map(|(number, _)| &self.people[*number])
    }

    /// The person of a Gerrit account: by its name, then by its address.
    #[must_use]
    pub fn by_gerrit(&self, name: &str, email: &str) -> Option<&Person> {
        self.get(name).or_else(|| self.get(email))
    }

    /// The GitHub user of a gomote user; the same where nothing else is known.
    #[must_use]
    pub fn github_of_gomote<'a>(&'a self, user: &'a str) -> &'a str {
        self.gomote
            .get(user)
            .map(String::as_str)
            .filter(|github| !github.is_empty())
            .unwrap_or(user)
    }

    /// Everybody, in the order given.
    #[must_use]
    pub fn all(&self) -> &[Person] {
        &self.people
    }

    /// What is wrong with the data.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Reads a `.mailmap` of git: each line's names and addresses are one person's.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the line that is none.
    pub fn from_mailmap(text: &str) -> Result<Self> {
        let mut people = Self::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let mut ids = Vec::new();
            let mut rest = line;
            while let Some((name, after)) = rest.split_once('<') {
                let Some((email, next)) = after
                    .split_once('>')
                    .filter(|(email, _)| email.contains('@'))
                else {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!("mailmap:{}: no address in {line:?}", number + 1),
                    ));
                };
                // The first name is the proper one; later ones are old.
                if !name.trim().is_empty() && ids.is_empty() {
                    ids.push(name.trim());
                }
                ids.push(email.trim());
                rest = next;
            }
            if ids.is_empty() {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("mailmap:{}: no address in {line:?}", number + 1),
                ));
            }
            people.add(&ids);
        }
        Ok(people)
    }

    /// The data as a file, to be read again by [`People::parse`].
    #[must_use]
    pub fn to_toml(&self) -> String {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let list = |items: &[String]| {
            items
                .iter()
                .map(|item| quote(item))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut text = String::new();
        for person in &self.people {
            text += &format!("[[person]]\nname = {}\n", quote(&person.name));
            if !person.github.is_empty() {
                text += &format!("github = [{}]\n", quote(&person.github));
            }
            let (ids, emails): (Vec<String>, Vec<String>) = person
                .emails
                .iter()
                .cloned()
                .partition(|email| is_gerrit_id(email));
            for (key, items) in [
                ("emails", emails),
                ("gerrit_ids", ids),
                ("tags", person.tags.iter().cloned().collect()),
            ] {
                if !items.is_empty() {
                    text += &format!("{key} = [{}]\n", list(&items));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_person_come_together() {
        let mut people = People::new();
        people.add(&["Ann X", "ann@golang.org", "5@I", "@annx"]);
        people.add(&["Ann X", "a@home.net"]);
        let ann = people.get("@AnnX").unwrap();
        for id in ["ANN X", "a@home.net", "5@i", "Ann@Golang.org"] {
            assert_eq!(people.get(id), Some(ann), "{id}");
        }
        assert_eq!(
            (ann.gerrit.as_str(), ann.github.as_str()),
            ("ann@golang.org", "annx")
        );
        assert!(ann.has_tag(GOOGLE) && !ann.is_bot());
        let bo = people.add(&["Bo", "7@I", "bo@x.y", &"ab".repeat(20), "*bot"]);
        assert_eq!(
            (bo.name.as_str(), bo.gerrit.as_str(), bo.is_bot()),
            ("Bo", "bo@x.y", true)
        );
        assert_eq!(people.by_gerrit("nobody", "BO@x.y").unwrap().name, "Bo");
        assert!(people.get("nobody").is_none() && people.faults().is_empty());
        people.add(&["Cy", "a@home.net"]);
        assert_eq!(
            people.get("a@home.net").unwrap().name,
            "Cy",
            "who is known under an id keeps all"
        );
        people.add(&["New", "@new"]);
        people.add(&["@new", "Bo"]);
        assert_eq!(people.faults().len(), 1);
        people.add(&["É Ñ", "e@x.y"]);
        assert!(people.get("é ñ").is_some());
    }

    #[test]
    fn faults_name_both_lines() {
        let text = "[[person]]\nname = \"A\"\nemails = [\"a@x.y\", \"nothing\"]\n\n[[person]]\nname = \"B\"\nemails = [\n  \"A@X.Y\",\n]\ngomote = [\"b\"]\n";
        let people = People::parse("p.toml", text).unwrap();
        let faults: Vec<(&str, &str)> = people
            .faults()
            .iter()
            .map(|f| (f.place.as_str(), f.text.as_str()))
            .collect();
        assert_eq!(
            faults,
            [
                ("p.toml:3", "\"nothing\" is no address"),
                ("p.toml:8", "\"A@X.Y\" is A too, at p.toml:3"),
                (
                    "p.toml:10",
                    "gomote user \"b\" of somebody without a GitHub user"
                ),
            ]
        );
        assert!(People::parse("p.toml", "[[person]]\nnam = 1\n").is_err());
    }

    #[test]
    fn gomote_users_are_github_users_unless_told_otherwise() {
        let people = People::parse(
            "x",
            "[[person]]\nname = \"A\"\ngithub = [\"long\"]\ngomote = [\"short\"]\n",
        )
        .unwrap();
        assert_eq!(people.github_of_gomote("short"), "long");
        assert_eq!(people.github_of_gomote("other"), "other");
    }

    #[test]
    fn mailmaps_are_read_and_written_as_data() {
        let map =
            "# x\nAnn X <ann@x.y> <old@x.y>\nAnn X <ann@x.y> Old Name <older@x.y>\nBo <bo@x.y>\n";
        let people = People::from_mailmap(map).unwrap();
        assert_eq!(people.all().len(), 2);
        assert_eq!(people.all()[0].emails, ["ann@x.y", "old@x.y", "older@x.y"]);
        let again = People::parse("x", &people.to_toml()).unwrap();
        assert_eq!(again.all(), people.all());
        let error = People::from_mailmap("Ann X\n").unwrap_err();
        assert!(error.to_string().starts_with("mailmap:1:"), "{error}");
    }
}
