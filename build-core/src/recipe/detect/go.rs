//! Go modules.

use super::guess::{Guess, step};
use super::look::{Look, dir_of};

/// Modules below the root that are run; more are said.
const MAX_MODULES: usize = 16;

/// Vets and tests the module at the root and each module below it.
///
/// `./...` ends where another module begins, so each is run in its own folder.
pub(super) fn go(look: &Look<'_>) -> Guess {
    let mut guess = Guess::default();
    if look.has("go.mod") {
        guess.join(Guess::beside(vec![
            step("vet", "go vet ./...", &["go"]),
            step("test", "go test ./...", &["go"]),
        ]));
    }
    for (n, path) in look.nested("go.mod").enumerate() {
        if n >= MAX_MODULES {
            guess.not_run(path, "there are many modules; name it in a [[step]]");
        } else {
            guess.join(module().within(dir_of(path)));
        }
    }
    guess
}

/// A module that may hold nothing for this machine, such as one of pinned tools.
pub(super) fn module() -> Guess {
    let run = "go vet ./... && { [ -z \"$(go list ./...)\" ] || go test ./...; }";
    Guess::beside(vec![step("test", run, &["go"])])
}
