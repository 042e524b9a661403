/// When a rule is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// In every run.
    #[default]
    Always,
    /// In normal try runs.
    Try,
}

/// Whether some dist tests run on a builder. The first rule that is about a test decides.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistRule {
    /// In which runs.
    #[serde(default)]
    pub when: When,
    /// Whether they run; most rules are about tests that do not.
    #[serde(default)]
    pub run: bool,
    /// These names.
    #[serde(default)]
    pub equals: Vec<String>,
    /// Names that begin so.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Names that hold this.
    #[serde(default)]
    pub contains: Option<String>,
}

impl DistRule {
    pub(super) fn is_about(&self, test: &str, normal_try: bool) -> bool {
        let now = self.when == When::Always || normal_try;
        now && (self.equals.iter().any(|name| name == test)
            || self
                .prefix
                .as_deref()
                .is_some_and(|prefix| test.starts_with(prefix))
            || self
                .contains
                .as_deref()
                .is_some_and(|part| test.contains(part)))
    }

    /// Whether it can be about anything.
    pub(super) fn is_empty(&self) -> bool {
        self.equals.is_empty() && self.prefix.is_none() && self.contains.is_none()
    }
}
