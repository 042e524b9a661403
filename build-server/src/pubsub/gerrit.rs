//! Mail of Gerrit: whether it is genuine, and what it says.

use async_trait::async_trait;
use build_core::pubsubtypes::GerritEvent;
use build_core::{Error, ErrorKind, Result};

/// Which mail is believed.
#[derive(Clone, Debug)]
pub struct MailPolicy {
    /// Pairs of a domain that signs, with those below it, and the host of the envelope's sender.
    pub trusted: Vec<(String, String)>,
}

impl Default for MailPolicy {
    /// The Gerrit of Google.
    fn default() -> Self {
        let google = ("google.com", "gerritcodereview.bounces.google.com");
        Self {
            trusted: vec![(google.0.to_owned(), google.1.to_owned())],
        }
    }
}

/// What a signature of a mail covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// Who signed.
    pub domain: String,
    /// The names of the headers that are signed, in lower case; once for each that is there.
    pub headers: Vec<String>,
}

/// Checks the signature of a mail.
#[async_trait]
pub trait MailVerifier: Send + Sync {
    /// Who signed a mail, when its one signature is right for the headers and the body.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it is not; other kinds when that cannot be found out.
    async fn verify(&self, mail: &[u8]) -> Result<Signed>;
}

/// The values of a header in a mail's head, unfolded.
pub fn header_values(mail: &str, name: &str) -> Vec<String> {
    let head = mail.split("\r\n\r\n").next().unwrap_or("");
    let mut values: Vec<String> = Vec::new();
    let mut is_ours = false;
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            if let (true, Some(value)) = (is_ours, values.last_mut()) {
                // A value may begin on the second line.
                if !value.is_empty() {
                    value.push(' ');
                }
                value.push_str(line.trim());
            }
            continue;
        }
        is_ours = false;
        if let Some((known, value)) = line.split_once(':')
            && known.trim().eq_ignore_ascii_case(name)
        {
            is_ours = true;
            values.push(value.trim().to_owned());
        }
    }
    values
}

/// What a genuine mail says.
pub(super) async fn event(
    policy: &MailPolicy,
    verifier: &dyn MailVerifier,
    sender: &str,
    mail: &[u8],
) -> Result<GerritEvent> {
    let denied = |text: String| Error::new(ErrorKind::Denied, text);
    let text = String::from_utf8_lossy(mail);
    if !text.contains("\r\n\r\n") {
        return Err(denied("the mail has no head".to_owned()));
    }
    if header_values(&text, "DKIM-Signature").len() != 1 {
        return Err(denied("the mail does not have one signature".to_owned()));
    }
    let signed = verifier.verify(mail).await?;
    let host = sender
        .rsplit_once('@')
        .map_or("", |(_, host)| host)
        .to_ascii_lowercase();
    let domain = signed.domain.to_ascii_lowercase();
    let trusted = policy.trusted.iter().any(|(signs, bounces)| {
        let below = domain
            .strip_suffix(signs.as_str())
            .is_some_and(|rest| rest.ends_with('.'));
        (domain == *signs || below) && host == *bounces
    });
    if !trusted {
        let text = format!("mail signed by {domain} and sent from {host} is not believed");
        return Err(denied(text));
    }
    // A header that is not signed, or is there more often than it is signed, was added later.
    let value = |name: &str| {
        let values = header_values(&text, name);
        let covered = signed
            .headers
            .iter()
            .filter(|h| h.eq_ignore_ascii_case(name))
            .count();
        match values.as_slice() {
            [] => Ok(None),
            [value] if covered >= 1 => Ok(Some(value.clone())),
            [_] => Err(denied(format!("{name} is not signed"))),
            _ => Err(denied(format!("{name} is there {} times", values.len()))),
        }
    };
    let url = value("X-Gerrit-ChangeURL")?.unwrap_or_default();
    let url = url
        .trim_start_matches('<')
        .trim_end_matches('>')
        .trim_end_matches("?usp=email");
    let project = match value("X-Gerrit-Project")? {
        Some(project) => project,
        None => {
            let list = value("List-Id")?.unwrap_or_default();
            let list = list.trim_start_matches("<gerrit-");
            list.split_once('.')
                .map_or("", |(project, _)| project)
                .to_owned()
        }
    };
    let number = value("X-Gerrit-Change-Number")?.unwrap_or_default();
    Ok(GerritEvent {
        url: url.to_owned(),
        project,
        commit_hash: value("X-Gerrit-Commit")?.unwrap_or_default(),
        change_number: number.parse().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Signed);

    #[async_trait]
    impl MailVerifier for Fixed {
        async fn verify(&self, _: &[u8]) -> Result<Signed> {
            Ok(self.0.clone())
        }
    }

    const MAIL: &str = "DKIM-Signature: v=1\r\nList-Id: <gerrit-net.googlegroups.com>\r\n\
        X-Gerrit-ChangeURL: <https://go-review.googlesource.com/1?usp=email>\r\nX-Gerrit-Commit:\r\n abc\r\n\
        X-Gerrit-Change-Number: 7\r\n\r\nbody\r\n";
    const SENDER: &str = "x@GerritCodeReview.bounces.google.com";

    async fn read(domain: &str, signed: &[&str], sender: &str, mail: &str) -> Result<GerritEvent> {
        let headers = signed.iter().map(|h| (*h).to_owned()).collect();
        let verifier = Fixed(Signed {
            domain: domain.to_owned(),
            headers,
        });
        event(&MailPolicy::default(), &verifier, sender, mail.as_bytes()).await
    }

    #[tokio::test]
    async fn only_signed_headers_of_the_right_domain_are_believed() {
        let all = [
            "list-id",
            "x-gerrit-changeurl",
            "x-gerrit-commit",
            "x-gerrit-change-number",
        ];
        let event = read("google.com", &all, SENDER, MAIL).await.unwrap();
        assert_eq!((event.project.as_str(), event.change_number), ("net", 7));
        assert_eq!(
            (event.url.as_str(), event.commit_hash.as_str()),
            ("https://go-review.googlesource.com/1", "abc")
        );
        assert!(read("mail.google.com", &all, SENDER, MAIL).await.is_ok());
        let twice = MAIL.replace(
            "X-Gerrit-Commit:",
            "X-Gerrit-Commit: evil\r\nX-Gerrit-Commit:",
        );
        for (domain, signed, sender, mail) in [
            ("evilgoogle.com", &all[..], SENDER, MAIL),
            ("google.com.evil", &all, SENDER, MAIL),
            ("google.com", &all[1..], SENDER, MAIL),
            ("google.com", &all, "x@evil.example", MAIL),
            ("google.com", &all, SENDER, &twice),
            (
                "google.com",
                &all,
                SENDER,
                &MAIL.replace("DKIM-Signature", "X"),
            ),
            ("google.com", &all, SENDER, "DKIM-Signature: x\r\n"),
        ] {
            let error = read(domain, signed, sender, mail).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{domain} {sender}");
        }
    }
}
