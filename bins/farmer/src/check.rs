//! `farmer check`: explains what would be run, and where.

use std::path::{Path, PathBuf};

use build_core::plan::{KeptWhen, Network, Plan, QUIET_TIMEOUT, STEP_TIMEOUT, Sandbox, Step};
use build_core::recipe::{Detect, Detected, FILE_NAME, FarmerToml, Host, show_duration, show_size};
use build_core::work::Builder;
use build_server::buildlet::sandbox::Bounds;
use build_server::pool::{LocalPool, own_labels};
use build_server::source::WorkTree;
use farmer_cli::Failure;
use serde_json::json;

use crate::cli::Check;
use crate::farm_file::FarmFile;
use crate::init::directory;
use crate::machines::{bounds, own_program};
use crate::output::{failure, print_json, print_text};

/// The pools of this program: a host of another pool has no machine.
const POOLS: [&str; 1] = ["local"];

/// Explains the configuration of a repository, or what is detected when it has none.
pub(crate) async fn check(
    args: Check,
    data: Result<PathBuf, Failure>,
    json: bool,
) -> Result<(), Failure> {
    let root = directory(&args.repo)?;
    let tree = WorkTree::at(&root);
    let file = match &args.config {
        Some(path) => Some(read_config(path)?),
        None => Detect::configuration(&tree)
            .await
            .map_err(|e| failure(&e))?,
    };
    let named = args
        .config
        .as_deref()
        .map_or_else(|| FILE_NAME.to_owned(), |p| p.display().to_string());
    let configured = file.as_ref().is_some_and(|f| !f.steps().is_empty());
    let file = file.unwrap_or_default();
    let of_farm = farm_hosts(args.farm.as_deref(), data.as_deref().ok());
    for builder in file.builders() {
        let plan = if configured {
            file.plan(&builder.name, format!("steps of {named}"))
                .map_err(|e| failure(&e))?
        } else {
            Detected::from_tree(&tree)
                .await
                .map_err(|e| failure(&e))?
                .into_plan()
        };
        check_reachable(of_farm.iter().chain(file.hosts()), &builder)?;
        explain(&builder, &plan, json)?;
    }
    check_farm(args.farm.as_deref(), data, json)
}

/// The hosts of the farm, as far as its settings can be read: what is wrong with them is said later.
fn farm_hosts(given: Option<&Path>, data: Option<&Path>) -> Vec<Host> {
    if given.or(data).is_none() {
        return Vec::new();
    }
    let file = FarmFile::open(given, data.unwrap_or(Path::new("")));
    file.map_or_else(|_| Vec::new(), |file| file.farm().hosts.clone())
}

/// Explains the settings of the farm, if it has any.
fn check_farm(
    given: Option<&Path>,
    data: Result<PathBuf, Failure>,
    json: bool,
) -> Result<(), Failure> {
    let data = match (data, given) {
        (Ok(data), _) => data,
        // Without a place for data there is no farm, and no settings but those that are given.
        (Err(_), None) => return Ok(()),
        (Err(_), Some(_)) => PathBuf::new(),
    };
    let file = FarmFile::open(given, &data)?;
    explain_sandbox(file.sandbox(None), bounds(file.limits()), json)?;
    match (file.explain(), file.allotment()) {
        (Some(_), Some(allotment)) if json => print_json(&json!({ "farm": allotment })),
        (Some(text), _) => print_text(&text),
        (None, _) => Ok(()),
    }
}

/// Tells how builds are kept apart from this machine, and by what they are bounded; and why not more
/// strictly.
fn explain_sandbox(set: Sandbox, bounds: Bounds, json: bool) -> Result<(), Failure> {
    let program = own_program()?;
    let pool = LocalPool::builder(program, 1).sandbox(set).bounds(bounds);
    let pool = pool.build().map_err(|e| failure(&e))?;
    let available = pool.sandboxes();
    let (highest, why) = (available.level, available.why_not_higher);
    let limits = pool.limits();
    let set = set.word().unwrap_or_default();
    if json {
        let told = json!({
            "memory": limits.memory.as_str(),
            "processes": limits.processes.as_str(),
            "why_no_control_groups": limits.why_no_groups,
            "bounds": limits.bounds,
        });
        return print_json(&json!({
            "sandbox": { "set": set, "highest": highest, "why_not_higher": why },
            "limits": told,
        }));
    }
    let why = why.map(|why| format!("\n  not higher, because {why}"));
    let no_groups = (limits.why_no_groups.as_ref())
        .map(|why| format!("\n  not by control groups, because {why}"));
    print_text(&format!(
        "sandbox of builds here: {set}; the highest level is {highest}{}\n\
         limits of builds here: {limits}{}\n",
        why.unwrap_or_default(),
        no_groups.unwrap_or_default()
    ))
}

/// Reads a configuration that was given by its path.
pub(crate) fn read_config(path: &Path) -> Result<FarmerToml, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::usage(
            format!("cannot read {}: {e}", path.display()),
            "give the path of a .farmer.toml",
        )
    })?;
    FarmerToml::parse(&text)
        .map_err(|e| failure(&e.while_doing(format!("read {}", path.display()))))
}

/// Every builder must get a machine from somewhere.
pub(crate) fn check_reachable<'h>(
    hosts: impl IntoIterator<Item = &'h Host>,
    builder: &Builder,
) -> Result<(), Failure> {
    let mut hosts = hosts.into_iter();
    let host = hosts.find(|h| h.name == builder.host_type);
    let kind = &builder.host_type;
    if host.is_none() && kind.as_str() != POOLS[0] {
        return Err(Failure::usage(
            format!(
                "builder \"{}\" is on host \"{kind}\", which is not configured",
                builder.name
            ),
            format!(
                "add a [[host]] with name = \"{kind}\" here or to the farmer.toml of the farm, or use host = \"local\""
            ),
        ));
    }
    if let Some(host) = host.filter(|host| !POOLS.contains(&host.pool.as_str())) {
        return Err(Failure::usage(
            format!(
                "host \"{}\" is supplied by pool \"{}\", which is not known",
                host.name, host.pool
            ),
            format!("known pools: {}", POOLS.join(", ")),
        ));
    }
    let more = host
        .into_iter()
        .flat_map(|host| host.labels.iter().cloned());
    let has = own_labels(&more.collect::<Vec<_>>());
    let Some(label) = builder.labels.iter().find(|label| !has.has(label)) else {
        return Ok(());
    };
    let hint = match host {
        Some(_) => {
            format!("add \"{label}\" to the labels of the host, or take it from the builder")
        }
        None => format!(
            "name a [[host]] with the label \"{label}\" and its machines, or take it from the builder"
        ),
    };
    Err(Failure::usage(
        format!(
            "builder \"{}\" cannot run: no machine has label {label}; those of host \"{}\" have {}",
            builder.name,
            builder.host_type,
            has.iter().collect::<Vec<_>>().join(", ")
        ),
        hint,
    ))
}

fn explain(builder: &Builder, plan: &Plan, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&json!({ "builder": builder, "plan": plan }));
    }
    print_text(&describe(builder, plan))
}

fn describe(builder: &Builder, plan: &Plan) -> String {
    let mut text = format!(
        "builder {} on host {}: {}\n",
        builder.name, builder.host_type, plan.reason
    );
    if !plan.warm.is_empty() {
        text += &format!("  {:<12} {}\n", "warm", plan.warm.join(", "));
    }
    for input in &plan.inputs {
        text += &format!("  {:<12} {input}\n", "beside it");
    }
    for step in &plan.steps {
        text += &format!("  {:<12} {}\n", step.name.as_str(), step.run);
        for line in details(step) {
            text += &format!("  {:<12}   {line}\n", "");
        }
    }
    let limits = &plan.limits;
    text += &format!(
        "  limits: {} free disk, {} attempts when a machine fails, log {}\n",
        show_size(limits.disk_floor_bytes),
        limits.attempts,
        limits
            .log_bytes
            .map_or("without limit".to_owned(), show_size),
    );
    text
}

fn details(step: &Step) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(first) = step.needs.first() {
        let names: Vec<_> = step
            .needs
            .iter()
            .map(build_core::ids::StepName::as_str)
            .collect();
        lines.push(format!(
            "after {}, in the work directory of {first}",
            names.join(", ")
        ));
    }
    if !step.when.is_empty() {
        lines.push(format!("only {}", step.when));
    }
    if step.timeout != STEP_TIMEOUT || step.quiet != QUIET_TIMEOUT {
        lines.push(format!(
            "at most {}, silent at most {}",
            show_duration(step.timeout),
            show_duration(step.quiet)
        ));
    }
    if let Some(tests) = &step.tests {
        lines.push(format!(
            "tests listed by `{tests}`, on {} machines",
            step.shards
        ));
    }
    if let Some(word) = step
        .sandbox
        .word()
        .filter(|_| step.sandbox != Sandbox::Auto)
    {
        lines.push(format!("sandbox {word}"));
    }
    if step.network != Network::Open {
        lines.push(format!("network {}", step.network.word()));
    }
    for input in &step.inputs {
        lines.push(format!("with the tree of {} in {}", input.step, input.dir));
    }
    if let Some(dir) = &step.snapshot {
        let dir = if dir.is_empty() { "." } else { dir };
        lines.push(format!("keeps {dir} as a snapshot"));
    }
    if !step.artifacts.is_empty() {
        let how = match step.artifacts_when {
            KeptWhen::Failed => " when it fails",
            KeptWhen::Always => ", also when it fails",
            _ => "",
        };
        let long = step.artifacts_keep.map(show_duration);
        let long = long.map_or_else(String::new, |time| format!(", for {time}"));
        lines.push(format!("keeps {}{how}{long}", step.artifacts.join(", ")));
    }
    if !step.cache.is_empty() {
        lines.push(format!(
            "cached for the next build: {}",
            step.cache.join(", ")
        ));
    }
    lines
}
