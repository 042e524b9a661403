//! Files that make a system start a program with itself, and start it again when it ends.

use std::fmt::Write as _;

/// Who starts the programs of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manager {
    /// Most Linux systems, for all users.
    Systemd,
    /// Most Linux systems, for one user.
    SystemdUser,
    /// macOS, for one user.
    Launchd,
    /// Windows.
    Windows,
}

/// A program to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: letters, digits and `-`.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// What makes a system start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFile {
    /// Where the file belongs; `~` is the user's home.
    pub path: String,
    /// The text of the file.
    pub text: String,
    /// What is to be run once the file is there, in order.
    pub then: Vec<String>,
}

impl Service {
    /// The file for a manager. A program that ends, well or not, is started again after two
    /// seconds; at a stop it gets ten seconds to end what it runs.
    #[must_use]
    pub fn file(&self, manager: Manager) -> ServiceFile {
        match manager {
            Manager::Systemd => self.systemd(false),
            Manager::SystemdUser => self.systemd(true),
            Manager::Launchd => self.launchd(),
            Manager::Windows => self.windows(),
        }
    }

    fn systemd(&self, of_user: bool) -> ServiceFile {
        let words: Vec<String> = self.command.iter().map(|word| systemd_word(word)).collect();
        let (dir, user, target) = match of_user {
            true => ("~/.config/systemd/user", " --user", "default.target"),
            false => ("/etc/systemd/system", "", "multi-user.target"),
        };
        let text = format!(
            "[Unit]\nDescription={}\nWants=network-online.target\nAfter=network-online.target\n\
             StartLimitIntervalSec=0\n\n\
             [Service]\nExecStart={}\nRestart=always\nRestartSec=2\nKillMode=mixed\n\
             TimeoutStopSec=10\nRestartPreventExitStatus=2\n\n\
             [Install]\nWantedBy={target}\n",
            self.title,
            words.join(" ")
        );
        let mut then = vec![
            format!("systemctl{user} daemon-reload"),
            format!("systemctl{user} enable --now {}", self.name),
        ];
        if of_user {
            then.push("loginctl enable-linger".into());
        }
        ServiceFile {
            path: format!("{dir}/{}.service", self.name),
            text,
            then,
        }
    }

    fn launchd(&self) -> ServiceFile {
        let mut words = String::new();
        for word in &self.command {
            // Writing to a string cannot fail.
            let _ = writeln!(words, "    <string>{}</string>", xml(word));
        }
        let path = format!("~/Library/LaunchAgents/{}.plist", self.name);
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
             \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
             <plist version=\"1.0\">\n<dict>\n  <key>Label</key>\n  <string>{}</string>\n  \
             <key>ProgramArguments</key>\n  <array>\n{words}  </array>\n  <key>RunAtLoad</key>\n  \
             <true/>\n  <key>KeepAlive</key>\n  <true/>\n  <key>ThrottleInterval</key>\n  \
             <integer>2</integer>\n  <key>ExitTimeOut</key>\n  <integer>10</integer>\n\
             </dict>\n</plist>\n",
            xml(&self.name)
        );
        ServiceFile {
            then: vec![format!("launchctl load -w {path}")],
            path,
            text,
        }
    }

    /// A task that runs from the start of the system on: a program must be written for it to be a
    /// service of Windows.
    fn windows(&self) -> ServiceFile {
        let (program, arguments) = self
            .command
            .split_first()
            .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        let arguments: Vec<String> = arguments.iter().map(|word| windows_word(word)).collect();
        let path = format!("{}.xml", self.name);
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n\
             <Task version=\"1.3\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">\r\n  \
             <RegistrationInfo><Description>{}</Description></RegistrationInfo>\r\n  \
             <Triggers><BootTrigger><Enabled>true</Enabled></BootTrigger></Triggers>\r\n  \
             <Settings>\r\n    <RestartOnFailure><Interval>PT1M</Interval><Count>999</Count>\
             </RestartOnFailure>\r\n    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>\r\n  \
             </Settings>\r\n  <Actions><Exec><Command>{}</Command><Arguments>{}</Arguments></Exec>\
             </Actions>\r\n</Task>\r\n",
            xml(&self.title),
            xml(program),
            xml(&arguments.join(" "))
        );
        ServiceFile {
            then: vec![
                format!("schtasks /Create /TN {} /XML {path} /RU SYSTEM", self.name),
                format!("schtasks /Run /TN {}", self.name),
            ],
            path,
            text,
        }
    }
}

/// A word of a command line of systemd: quoted, and nothing in it is expanded.
fn systemd_word(word: &str) -> String {
    let escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .replace('%', "%%")
        .replace('$', "$$");
    format!("\"{escaped}\"")
}

/// A word of a command line of Windows.
fn windows_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:\\,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    let mut slashes = 0;
    for c in word.chars() {
        match c {
            '\\' => slashes += 1,
            '"' => {
                out.extend(std::iter::repeat_n('\\', slashes + 1));
                slashes = 0;
            }
            _ => slashes = 0,
        }
        out.push(c);
    }
    out.extend(std::iter::repeat_n('\\', slashes));
    out.push('"');
    out
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        Service {
            name: "farmer-join".into(),
            title: "Build machine of farm.example".into(),
            command: ["/opt/my farmer", "join", "https://x?a&b", "50% $HOME \"q\""]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    #[test]
    fn systemd_starts_the_words_as_they_are() {
        let file = service().file(Manager::Systemd);
        assert_eq!(file.path, "/etc/systemd/system/farmer-join.service");
        let line =
            "ExecStart=\"/opt/my farmer\" \"join\" \"https://x?a&b\" \"50%% $$HOME \\\"q\\\"\"\n";
        assert!(file.text.contains(line), "{}", file.text);
        assert!(file.text.contains("Restart=always\n"), "{}", file.text);
        let file = service().file(Manager::SystemdUser);
        assert_eq!(file.path, "~/.config/systemd/user/farmer-join.service");
        assert_eq!(file.then[1], "systemctl --user enable --now farmer-join");
    }

    #[test]
    fn other_systems_get_xml() {
        let file = service().file(Manager::Launchd);
        assert!(file.text.contains("<string>https://x?a&amp;b</string>"));
        let file = service().file(Manager::Windows);
        assert!(file.text.contains("<Command>/opt/my farmer</Command>"));
        let arguments =
            "join &quot;https://x?a&amp;b&quot; &quot;50% $HOME \\&quot;q\\&quot;&quot;";
        assert!(file.text.contains(arguments), "{}", file.text);
        assert_eq!(windows_word("a b\\"), "\"a b\\\\\"");
    }
}
