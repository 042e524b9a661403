//! Machines: created, listed, given back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use build_client::gomote::{Event, Listed};
use farmer_cli::{Exit, Failure};
use futures::future::{join_all, try_join_all};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::{Create, Destroy, Group, Ping, Push, Run};
use super::place::Place;
use super::{push, run};
use crate::told::failed;

pub(super) async fn create(
    place: &Place,
    args: Create,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let client = place.client()?;
    if let Some(group) = &place.group {
        let known = place.groups.members(group).map_err(|e| failed(&e))?;
        if args.new_group || known.is_none() {
            place.groups.create(group).map_err(|e| failed(&e))?;
        }
    } else if args.new_group {
        return Err(Failure::usage("no group is named", "name it with -group"));
    }
    let begun = Instant::now();
    let one = || async {
        let listed = client.create(&args.builder, |event| {
            if args.status {
                tell(&args.builder, begun, &event);
            }
        });
        let listed = listed.await.map_err(|e| failed(&e))?;
        if let Some(group) = &place.group {
            // A name that is used again means another machine.
            place.groups.forget(&listed.name).map_err(|e| failed(&e))?;
            place
                .groups
                .add(group, &listed.name)
                .map_err(|e| failed(&e))?;
        }
        print(place, &listed);
        Ok::<_, Failure>(listed)
    };
    let all = try_join_all((0..args.count).map(|_| one()));
    let limit = args.timeout.map_or(Duration::MAX, Duration::from_secs);
    let created = tokio::select! {
        created = tokio::time::timeout(limit, all) => created.map_err(|_| {
            Failure::usage(
                format!("no machine of {} within {} s", args.builder, limit.as_secs()),
                "see what holds it back with -status, or wait longer",
            )
        })??,
        // Wishes whose connections end are given up.
        () = stop.cancelled() => return Err(Failure::interrupted()),
    };
    if args.setup {
        for one in created {
            setup(place, &one, stop).await?;
        }
    }
    Ok(())
}

/// The Go tree is pushed, and built.
async fn setup(place: &Place, one: &Listed, stop: &CancellationToken) -> Result<(), Failure> {
    let push = Push {
        dry_run: false,
        root: None,
        remote_dir: None,
        no_ignore: false,
        no_cache: false,
        words: vec![one.name.clone()],
    };
    push::push(place, push).await?;
    let farm = build_core::builders::Farm::go2020();
    let script = farm.builder(&one.builder_type);
    let script = script.map_or("src/make.bash", |builder| builder.make_script());
    let run = Run {
        words: vec![one.name.clone(), format!("go/{script}")],
        ..Run::default()
    };
    match run::run(place, run, stop).await? {
        super::Done::Fine | super::Done::Remote(0) => Ok(()),
        super::Done::Remote(_) => Err(Failure::silent(Exit::Failed)),
    }
}

pub(super) fn tell(builder: &str, begun: Instant, event: &Event) {
    match event {
        Event::Message(text) => eprintln!("# {text}"),
        Event::Ahead(ahead) => eprintln!(
            "# still creating {builder} after {}s; {ahead} requests ahead of you",
            begun.elapsed().as_secs()
        ),
    }
}

fn print(place: &Place, listed: &Listed) {
    match place.json {
        true => println!("{}", json!(listed)),
        false => println!("{}", listed.name),
    }
}

pub(super) async fn destroy(place: &Place, args: Destroy) -> Result<(), Failure> {
    let client = place.client()?;
    let names = if args.all {
        let listed = client.list().await.map_err(|e| failed(&e))?;
        listed.into_iter().map(|one| one.name).collect()
    } else if args.names.is_empty() {
        let targets = place.targets(&mut VecDeque::new()).await?;
        targets.into_iter().map(|target| target.name).collect()
    } else {
        args.names
    };
    let destroyed = join_all(names.iter().map(|name| client.destroy(name))).await;
    let mut trouble = None;
    for (name, result) in names.iter().zip(destroyed) {
        match result {
            Ok(()) => place.groups.forget(name).map_err(|e| failed(&e))?,
            Err(error) => {
                eprintln!("# {name}: {}", error.chain());
                trouble = Some(failed(&error));
            }
        }
    }
    if let (true, Some(group), None) = (args.destroy_group, &place.group, &trouble) {
        place.groups.destroy(group).map_err(|e| failed(&e))?;
    }
    trouble.map_or(Ok(()), Err)
}

pub(super) async fn list(place: &Place) -> Result<(), Failure> {
    let listed = place.client()?.list().await.map_err(|e| failed(&e))?;
    if place.json {
        println!("{}", json!(listed));
        return Ok(());
    }
    for one in listed {
        let groups = place.groups.of_machine(&one.name).map_err(|e| failed(&e))?;
        let groups = match groups.is_empty() {
            true => String::new(),
            false => format!(" ({})", groups.join(", ")),
        };
        println!(
            "{}{groups}\t{}\t{}\texpires in {}",
            one.name,
            one.builder_type,
            one.host_type,
            left(&one.expires)
        );
    }
    Ok(())
}

/// As Go prints durations, to the second.
fn left(expires: &str) -> String {
    let Some(at) = build_client::gomote::seconds_until(expires) else {
        return "?".into();
    };
    match (at / 3600, at / 60 % 60, at % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

pub(super) async fn ping(place: &Place, args: Ping) -> Result<(), Failure> {
    let mut words = args.words.into();
    let targets = place.targets(&mut words).await?;
    let is_group = targets.len() > 1;
    let asked = join_all(targets.iter().map(|target| async {
        let status = target.machine.status().await?;
        let dir = match args.status {
            true => target.machine.work_dir().await?,
            false => String::new(),
        };
        Ok::<_, build_client::Error>((status.version, dir))
    }));
    let mut trouble = None;
    for (target, answer) in targets.iter().zip(asked.await) {
        match answer {
            Ok((version, dir)) if place.json => {
                println!(
                    "{}",
                    json!({"name": target.name, "alive": true, "version": version, "workdir": dir})
                );
            }
            Ok((version, dir)) if args.status => {
                println!("workdir: {dir}\nstatus: {{Version:{version}}}");
            }
            Ok(_) if is_group => println!("{}: alive", target.name),
            Ok(_) => {}
            Err(error) => {
                eprintln!("# {}: {}", target.name, error.chain());
                trouble = Some(Failure::because(Exit::Failed, &error, error.hint()));
            }
        }
    }
    trouble.map_or(Ok(()), Err)
}

pub(super) async fn group(place: &Place, command: Group) -> Result<(), Failure> {
    let groups = &place.groups;
    let named = || {
        place
            .group
            .as_deref()
            .ok_or_else(|| Failure::usage("no group is named", "name it with -group"))
    };
    let done = match command {
        Group::Create { name } => groups.create(&name),
        Group::Destroy { name } => groups.destroy(&name),
        Group::Add { names } => {
            let group = named()?;
            let listed = place.client()?.list().await.map_err(|e| failed(&e))?;
            for name in &names {
                if !listed.iter().any(|one| one.name == *name) {
                    return Err(Failure::usage(
                        format!("unknown builder {name:?}"),
                        "see: gomote list",
                    ));
                }
            }
            names.iter().try_for_each(|name| groups.add(group, name))
        }
        Group::Remove { names } => {
            let group = named()?;
            names.iter().try_for_each(|name| groups.remove(group, name))
        }
        Group::List => {
            let mut all = Vec::new();
            for group in groups.list().map_err(|e| failed(&e))? {
                let members = groups
                    .members(&group)
                    .map_err(|e| failed(&e))?
                    .unwrap_or_default();
                all.push(json!({"name": group, "instances": members}));
            }
            if place.json {
                println!("{}", json!(all));
                return Ok(());
            }
            println!("Name\tInstances");
            for one in all {
                let members: Vec<&str> = one["instances"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|m| m.as_str())
                    .collect();
                let members = match members.is_empty() {
                    true => "(none)".to_owned(),
                    false => members.join(", "),
                };
                println!("{}\t{members}", one["name"].as_str().unwrap_or_default());
            }
            Ok(())
        }
    };
    done.map_err(|e| failed(&e))
}
