//! The preset against the facts of the Go project's tables.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::key::MasterKey;

const PROXY: &str = "@GO_MODULE_PROXY@";

fn facts() -> Value {
    serde_json::from_str(include_str!("../../tests/data/go-builders.json")).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} of {value}"))
}

fn names(builders: &[Builder<'_>]) -> Vec<String> {
    builders
        .iter()
        .map(|builder| builder.name().to_owned())
        .collect()
}

fn target(fact: &Value) -> Target {
    Target::subrepo(
        text(fact, "repo"),
        text(fact, "branch"),
        fact["go_branch"].as_str().unwrap_or_default(),
    )
}

#[cfg(feature = "config")]
#[test]
fn the_go_farm_meets_every_expectation() {
    let (farm, facts) = (Farm::go2020(), facts());
    let mut seen = BTreeMap::<String, u64>::new();
    for fact in facts["expectations"].as_array().unwrap() {
        let kind = text(fact, "kind");
        *seen.entry(kind.to_owned()).or_default() += 1;
        expect(&farm, kind, fact);
    }
    let counts: BTreeMap<String, u64> =
        serde_json::from_value(facts["counts"]["expectations"].clone()).unwrap();
    assert_eq!(seen, counts, "every kind is looked at");
    assert_eq!(seen.values().sum::<u64>(), 268);
}

#[cfg(feature = "config")]
fn expect(farm: &Farm, kind: &str, fact: &Value) {
    let want = &fact["want"];
    let builder = || farm.builder(text(fact, "builder")).unwrap();
    match kind {
        "trybot_set" => {
            let got = names(&farm.try_builders(&target(fact)).unwrap());
            match want.as_array() {
                Some(_) => assert_eq!(got, texts(want), "{fact}"),
                None => assert_eq!(
                    got.len() as u64,
                    fact["want_count"].as_u64().unwrap(),
                    "{fact}"
                ),
            }
        }
        "builder_repo" => {
            let got = (
                builder().builds_post_submit(&target(fact)).unwrap(),
                builder().builds_try(&target(fact)).unwrap(),
            );
            let want = (&fact["post_submit"], &fact["trybot"]);
            assert_eq!((&Value::from(got.0), &Value::from(got.1)), want, "{fact}");
        }
        "builds_repo_at_all" => {
            let got = builder().explain_at_all(&target(fact)).unwrap();
            assert_eq!(Value::from(got.is_yes()), *want, "{fact}");
        }
        "dist_test" => {
            let time = match fact["is_normal_try"].as_bool().unwrap() {
                true => TestTime::NormalTry,
                false => TestTime::Other,
            };
            let got = builder().runs_dist_test(text(fact, "test"), time);
            assert_eq!(Value::from(got), *want, "{fact}");
        }
        "gopath_mode" => {
            let got = tests_in_gopath_mode(text(fact, "import_path"));
            assert_eq!(Value::from(got), *want, "{fact}");
        }
        "dist_tests_exec_timeout" | "modules_env" | "host_is_vm" => made_up(kind, fact, want),
        "host_expect_sum" => {
            let got = farm.expected_machines(text(fact, "prefix"));
            assert_eq!(Value::from(got), *want);
        }
        "unreferenced_hosts" => assert_eq!(farm.unused_hosts(), texts(want)),
        "env_contains" => {
            let want = want.as_str().unwrap();
            assert!(builder().env().iter().any(|pair| pair == want), "{fact}");
        }
        "dashboard_columns" => {
            let target = Target::subrepo(
                text(fact, "repo"),
                text(fact, "branch"),
                text(fact, "branch"),
            );
            let columns = farm.columns(&target, &[]).unwrap();
            assert_eq!(columns, texts(want), "{fact}");
            let got: Vec<_> = spans(&columns)
                .iter()
                .map(|span| serde_json::json!({"os": span.os, "n": span.columns, "unsupported": span.unsupported}))
                .collect();
            assert_eq!(Value::from(got), fact["spans"], "{fact}");
        }
        "builders_json" => {
            let page = farm.builders_json("");
            assert_eq!(page.len() as u64, fact["bytes"].as_u64().unwrap());
            assert_eq!(hex::encode(Sha256::digest(&page)), text(fact, "sha256"));
        }
        "dashboard_packages" => {
            let repos = crate::repos::Repos::go2020();
            let mut got = vec!["Go"];
            got.extend(repos.on_dashboard().map(|repo| &*repo.project));
            assert_eq!(got, texts(want));
        }
        "builder_key" => {
            let master = MasterKey::new(text(fact, "master")).unwrap();
            assert_eq!(master.key_of(text(fact, "principal")), *want);
        }
        "log_hash" => assert_eq!(hex::encode(Sha1::digest(text(fact, "text"))), *want),
        other => panic!("an unknown kind of expectation: {other}"),
    }
}

/// Expectations about hosts and builders that no farm has.
fn made_up(kind: &str, fact: &Value, want: &Value) {
    let flag = |key: &str| fact[key].as_bool().unwrap_or_default();
    let word = |key: &str| fact[key].as_str().unwrap_or_default().to_owned();
    let list = |key: &str| -> Vec<String> {
        serde_json::from_value(fact[key].clone()).unwrap_or_default()
    };
    let host = Host {
        name: "host-x".into(),
        vm_image: word("vm_image"),
        container_image: word("container_image"),
        reverse: flag("is_reverse"),
        ec2: flag("is_ec2"),
        env: list("host_env"),
        ..Host::default()
    };
    if kind == "host_is_vm" {
        assert_eq!(Value::from(host.is_vm()), *want, "{fact}");
        return;
    }
    let record = BuilderRecord {
        name: word("builder_name"),
        env: list("builder_env"),
        ..BuilderRecord::default()
    };
    let farm = Farm::new(Defaults::default(), vec![], vec![], BTreeMap::new()).unwrap();
    let builder = Builder::new(&farm, &record, &host);
    if kind == "modules_env" {
        assert_eq!(
            Value::from(builder.modules_env(text(fact, "repo"), PROXY)),
            *want,
            "{fact}"
        );
    } else {
        let seconds = fact["want_seconds"].as_u64().unwrap();
        assert_eq!(builder.test_limit(), Duration::from_secs(seconds), "{fact}");
    }
}

#[cfg(feature = "config")]
#[test]
fn derived_values_are_those_of_the_go_tables() {
    let (farm, facts) = (Farm::go2020(), facts());
    assert_eq!(
        (
            farm.hosts().count(),
            farm.builders().count(),
            farm.aliases.len()
        ),
        (70, 108, 69)
    );
    for (name, want) in facts["hosts"].as_object().unwrap() {
        let host = farm.host(name).unwrap();
        assert_eq!(Value::from(host.is_vm()), want["is_vm"], "{name}");
        assert_eq!(
            Value::from(host.is_container()),
            want["is_container"],
            "{name}"
        );
        assert_eq!(
            Value::from(host.is_hermetic()),
            want["is_hermetic"],
            "{name}"
        );
        assert_eq!(host.pool_name(), want["pool_name"], "{name}");
        if let Some(machine) = want["machine_type"].as_str() {
            assert_eq!(host.machine_type(), machine, "{name}");
            assert_eq!(Value::from(host.cpus()), want["gce_num_cpu"], "{name}");
        }
        if let Some(image) = want["container_vm_image"].as_str() {
            assert_eq!(host.container_vm_image(), image, "{name}");
        }
    }
    for (name, want) in facts["builders"].as_object().unwrap() {
        let builder = farm.builder(name).unwrap();
        let derived = &want["derived"];
        assert_eq!(Value::from(builder.is_race()), derived["race"], "{name}");
        assert_eq!(
            Value::from(builder.is_long_test()),
            derived["longtest"],
            "{name}"
        );
        assert_eq!(builder.all_script(), derived["all_script"], "{name}");
        assert_eq!(builder.make_script(), derived["make_script"], "{name}");
        assert_eq!(
            Value::from(builder.is_split()),
            derived["split_make_run"],
            "{name}"
        );
        assert_eq!(builder.goroot_final(), derived["goroot_final"], "{name}");
        assert_eq!(
            Value::from(builder.timeout_scale()),
            derived["timeout_scale"],
            "{name}"
        );
        assert_eq!(
            Value::from(builder.test_limit().as_secs()),
            derived["dist_tests_exec_timeout_seconds"],
            "{name}"
        );
        assert_eq!(
            Value::from(builder.outbound_network()),
            derived["outbound_network_allowed"],
            "{name}"
        );
        assert_eq!(
            builder.race_packages(),
            texts(&derived["install_race_packages"]),
            "{name}"
        );
        assert_eq!(Value::from(builder.env()), derived["env"], "{name}");
        for (repo, env) in derived["modules_env"].as_object().unwrap() {
            assert_eq!(
                Value::from(builder.modules_env(repo, PROXY)),
                *env,
                "{name} {repo}"
            );
        }
        resolved(&builder, &want["resolved"]);
    }
    let counts = &facts["counts"];
    for (kind, of) in [("trybots", true), ("post_submit", false)] {
        for (key, count) in counts[kind].as_object().unwrap() {
            let (repo, branch) = key.split_once('@').unwrap();
            let (branch, go_branch) = match repo {
                "go" => (branch, branch),
                _ => ("master", branch),
            };
            let target = Target::subrepo(repo, branch, go_branch);
            let found = match of {
                true => farm.try_builders(&target),
                false => farm.post_submit_builders(&target),
            };
            assert_eq!(Value::from(found.unwrap().len()), *count, "{kind} {key}");
        }
    }
}

/// What a builder builds, repository by repository.
#[cfg(feature = "config")]
fn resolved(builder: &Builder<'_>, want: &Value) {
    let repos = crate::repos::Repos::go2020();
    let subrepos: Vec<&str> = repos
        .iter()
        .filter(|repo| repo.is_subrepo() && repo.project != "go")
        .map(|repo| &*repo.project)
        .collect();
    let left_out = ["mobile", "exp", "build"];
    for (kind, tries) in [("post_submit", false), ("trybot", true)] {
        let builds = |target: &Target| match tries {
            true => builder.builds_try(target).unwrap(),
            false => builder.builds_post_submit(target).unwrap(),
        };
        let on = texts(&want[kind]["go_on"]);
        for branch in [
            "master",
            "dev.link",
            "release-branch.go1.14",
            "release-branch.go1.15",
            "release-branch.go1.16",
        ] {
            assert_eq!(
                builds(&Target::go(branch)),
                on.contains(&branch),
                "{builder:?} {kind} {branch}"
            );
        }
        for (go_branch, set) in want[kind]["subrepos"].as_object().unwrap() {
            for repo in &subrepos {
                let got = builds(&Target::subrepo(repo, "master", go_branch));
                let want = match set {
                    Value::String(word) if word == "all" => true,
                    Value::String(word) if word == "none" => false,
                    Value::String(word) if word == "default" => !left_out.contains(repo),
                    Value::Object(except) => !texts(&except["all_except"]).contains(repo),
                    list => texts(list).contains(repo),
                };
                // Release branches never build `exp`, whatever the set says of it.
                if *repo == "exp" && go_branch != "master" {
                    continue;
                }
                assert_eq!(got, want, "{builder:?} {kind} {repo} {go_branch}");
            }
        }
    }
}

#[test]
fn release_branches_are_read_strictly() {
    let parse = |name: &str| ReleaseBranch::parse(name).map(|branch| branch.0.to_string());
    assert_eq!(parse("release-branch.go1.15").as_deref(), Some("1.15"));
    assert_eq!(parse("release-branch.go2").as_deref(), Some("2.0"));
    for other in [
        "master",
        "release-branch.go1.0",
        "release-branch.go1.15-security",
        "release-branch.go01.2",
        "release-branch.go1.2.3",
        "release-branch.go",
        "release-branch.go+1.2",
        "release-branch.go1.1000",
        "release-branch.go0.5",
    ] {
        assert_eq!(parse(other), None, "{other}");
    }
    assert!(at_least_go1("master", 99) && at_least_go1("dev.x", 99) && !at_least_go1("other", 0));
    assert!(
        at_least_go1("release-branch.go1.15", 15) && !at_least_go1("release-branch.go1.15", 16)
    );
    assert!(!at_least_go1("release-branch.go2", 1));
    assert!(at_most_go1("release-branch.go1.15", 15) && !at_most_go1("master", 99));
}

#[cfg(feature = "config")]
#[test]
fn decisions_explain_themselves() {
    let farm = Farm::go2020();
    let say = |builder: &str, target: &Target| {
        farm.builder(builder)
            .unwrap()
            .explain_post_submit(target)
            .unwrap()
            .to_string()
    };
    let crypto = |go: &str| Target::subrepo("crypto", "master", go);
    assert_eq!(
        say("linux-386-387", &crypto("release-branch.go1.16")),
        "no: no clause of its rule holds"
    );
    assert!(say("linux-386-387", &crypto("release-branch.go1.15")).starts_with("yes: clause"));
    assert_eq!(
        say("linux-amd64", &Target::go("release-branch.go1.10")),
        "no: Go 1.10 is older than the farm builds"
    );
    assert_eq!(
        say("aix-ppc64", &Target::go("release-branch.go1.11")),
        "no: Go 1.11 is older than the builder builds"
    );
    assert_eq!(
        say("linux-386", &Target::go("dev.boringcrypto.go1.15")),
        "no: other builders build this branch"
    );
    assert!(say("linux-386", &Target::go("dev.boringcryptography")).starts_with("yes"));
    assert_eq!(
        say("misc-compile-mips", &Target::go("master")),
        "no: it only tries changes"
    );
    assert_eq!(
        say(
            "linux-amd64",
            &Target::subrepo("exp", "master", "release-branch.go1.15")
        ),
        "no: the repository is not built on releases"
    );
    let tries = farm
        .builder("linux-386-sid")
        .unwrap()
        .explain_try(&Target::go("master"))
        .unwrap();
    assert_eq!(tries, Decision::NotTried);
    let builder = farm.builder("misc-compile-mips").unwrap();
    assert_eq!(
        builder.explain_at_all(&crypto("master")).unwrap(),
        Decision::NotSplit
    );
    for bad in [
        Target::subrepo("net", "master", ""),
        Target::subrepo("", "master", "x"),
        Target::go(""),
    ] {
        let error = builder.builds_try(&bad).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{error}");
    }
}

#[cfg(feature = "config")]
#[test]
fn terms_mean_builders() {
    let farm = Farm::go2020();
    let means = |term: &str| {
        farm.match_term(term)
            .map(|builder| builder.name().to_owned())
    };
    assert_eq!(
        means("linux-amd64-noopt").as_deref(),
        Some("linux-amd64-noopt")
    );
    assert_eq!(means("arm64").as_deref(), Some("linux-arm64-packet"));
    assert_eq!(
        (means("darwin-arm"), means(""), means("nosuch")),
        (None, None, None)
    );
    let note = farm
        .builder("linux-arm")
        .unwrap()
        .known_issue_note()
        .unwrap();
    assert_eq!(
        note,
        "Note that builder linux-arm has a known issue golang.org/issue/35628."
    );
}

#[cfg(feature = "config")]
#[test]
fn all_mistakes_are_named_at_once() {
    let text = "[[host]]\nname = \"h\"\nreverse = true\ncontainer_image = \"c\"\nbuildlet_url = \"u\"\n\
        [[host]]\nname = \"ok\"\nreverse = true\n\
        [[builder]]\nname = \"a-b\"\nhost = \"nowhere\"\n\
        [[builder]]\nname = \"c-d\"\nhost = \"ok\"\nskip_snapshot = true\nhelpers = 2\n\
        [aliases]\nx = \"y-z\"\n";
    let error = Farm::from_toml(text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "host \"h\": it has more than one of vm_image, container_image and reverse; \
         builder \"a-b\": there is no host \"nowhere\"; \
         builder \"c-d\": helpers need the snapshot that skip_snapshot skips; \
         alias \"x\": there is no builder \"y-z\""
    );
    for (text, place) in [
        ("[[builder]]\nname = \"a-b\"\nhots = \"x\"\n", "hots"),
        (
            "[[builder]]\nname = \"a-b\"\nmin_go = \"1.x\"\n",
            "is not a Go version",
        ),
        (
            "[[builder]]\nname = \"a-b\"\nbuilds = [{ repos = \"some\" }]\n",
            "some",
        ),
    ] {
        let error = Farm::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    }
}

#[cfg(feature = "config")]
#[test]
fn lint_finds_what_is_odd() {
    let farm = Farm::go2020();
    let found: Vec<_> = farm
        .lint(&["linux/amd64", "plan10/vax"])
        .iter()
        .map(ToString::to_string)
        .collect();
    let has = |text: &str| found.iter().any(|line| line.contains(text));
    assert!(
        has("host-linux-x86-alpine: no builder uses this host"),
        "{found:?}"
    );
    assert!(
        has("js-wasm: no dist test is called \"cmd/go\""),
        "{found:?}"
    );
    assert!(
        has("plan10/vax: \"plan10-vax\" means no builder"),
        "{found:?}"
    );
    assert!(!has("linux/amd64:") && !has("armhf"), "{found:?}");
}
