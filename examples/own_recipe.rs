//! A recipe of one's own: each line of a file called `ci.txt` is a step; without that file the
//! usual detection answers.

use async_trait::async_trait;
use build_core::Result;
use build_core::ids::{BuilderName, CommitHash, HostType, RepoName, StepName};
use build_core::plan::{Plan, Step};
use build_core::recipe::{Detect, MemoryTree, Recipe, Tree};
use build_core::work::{Builder, WorkItem};

/// A longer file is a mistake.
const MAX_BYTES: u64 = 64 << 10;

struct Lines;

#[async_trait]
impl Recipe for Lines {
    async fn plan(&self, item: &WorkItem, builder: &Builder, tree: &dyn Tree) -> Result<Plan> {
        let Some(file) = tree.read("ci.txt", MAX_BYTES).await? else {
            return Detect.plan(item, builder, tree).await;
        };
        let text = String::from_utf8_lossy(&file);
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let mut steps: Vec<Step> = Vec::new();
        for (n, line) in lines.enumerate() {
            let step = Step::new(StepName::new(format!("line-{}", n + 1))?, line);
            steps.push(match steps.last() {
                Some(before) => step.needing(&before.name.clone()),
                None => step,
            });
        }
        Plan::new(steps, "the lines of ci.txt")
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let builder = Builder::new(BuilderName::new("linux")?, HostType::new("linux")?);
    let commit = CommitHash::new("0123456789abcdef0123456789abcdef01234567")?;
    let item = WorkItem::new(RepoName::new("project")?, "/srv/project", commit);
    for tree in [
        MemoryTree::default().with("ci.txt", "make\nmake test\n"),
        MemoryTree::default().with("Cargo.toml", "[package]\nname = \"x\"\n"),
    ] {
        let plan = Lines.plan(&item, &builder, &tree).await?;
        println!("{}:", plan.reason);
        for step in &plan.steps {
            println!("  {}: {}", step.name, step.run);
        }
    }
    Ok(())
}
