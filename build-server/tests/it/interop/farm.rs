//! The configuration packages: tables, policies, records and names, as the Go library has them.

use std::collections::BTreeMap;

use build_client::instance::CoordinatorInstance;
use build_core::buildenv::Environments;
use build_core::builders::{Builder, Farm, Target, TestTime, tests_in_gopath_mode};
use build_core::repos::Repos;
use build_core::{go_json, status_json};
use serde_json::Value;

use super::{compat, peers};

fn go_facts(program: &std::path::Path) -> Value {
    let output = std::process::Command::new(program)
        .env("USER", "gopher")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap())
        .collect()
}

fn letter(post: bool, tries: bool) -> char {
    match (post, tries) {
        (true, true) => 'b',
        (true, false) => 'p',
        (false, true) => 't',
        (false, false) => '-',
    }
}

/// What our builder says, in the members of the Go program.
fn describe(builder: &Builder<'_>, facts: &Value) -> Value {
    let record = builder.record();
    let host = builder.host();
    let null_if_empty = |list: Vec<String>| match list.is_empty() {
        true => Value::Null,
        false => list.into(),
    };
    let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut builds = BTreeMap::new();
    let mut modules = BTreeMap::new();
    let branches = texts(&facts["branches"]);
    for project in texts(&facts["projects"]) {
        modules.insert(
            project,
            null_if_empty(builder.modules_env(project, "PROXY")),
        );
        for branch in &branches {
            let letters: String = branches
                .iter()
                .filter(|go| project != "go" || *go == branch)
                .map(|go| {
                    let target = Target::subrepo(project, branch, go);
                    letter(
                        builder.builds_post_submit(&target).unwrap(),
                        builder.builds_try(&target).unwrap(),
                    )
                })
                .collect();
            builds.insert(format!("{project} {branch}"), letters);
        }
    }
    let dist: String = texts(&facts["dist_tests"])
        .iter()
        .map(|test| {
            letter(
                builder.runs_dist_test(test, TestTime::Other),
                builder.runs_dist_test(test, TestTime::NormalTry),
            )
        })
        .collect();
    let args = null_if_empty(builder.script_args().to_vec());
    serde_json::json!({
        "Env": builder.env(),
        "MakeScriptArgs": args,
        "AllScriptArgs": args,
        "RacePackages": null_if_empty(owned(builder.race_packages())),
        "ModulesEnv": modules,
        "GOOS": builder.goos(),
        "GOARCH": builder.goarch(),
        "AllScript": builder.all_script(),
        "MakeScript": builder.make_script(),
        "GorootFinal": builder.goroot_final(),
        "ShortOwner": builder.short_owner(),
        "Github": host.owner_github,
        "Path": builder.join_path(&["a", "b/c"]),
        "GoBootstrapURL": host.bootstrap_url("go-builder-data"),
        "SplitMakeRun": builder.is_split(),
        "Race": builder.is_race(),
        "LongTest": builder.is_long_test(),
        "Outbound": builder.outbound_network(),
        "TryOnly": record.try_only,
        "NeedsGoProxy": record.needs_go_proxy,
        "Reverse": host.reverse,
        "Container": host.is_container(),
        "VM": host.is_vm(),
        "Helpers": builder.helpers(false),
        "TryHelpers": builder.helpers(true),
        "LimitSeconds": builder.test_limit().as_secs(),
        "Builds": builds,
        "DistTests": dist,
    })
}

/// The lines in which two texts differ.
fn differences<'t>(a: &'t str, b: &'t str) -> Vec<(&'t str, &'t str)> {
    assert_eq!(a.lines().count(), b.lines().count());
    a.lines().zip(b.lines()).filter(|(a, b)| a != b).collect()
}

#[test]
fn the_go_farm_is_the_go_librarys() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    let program = programs.join("farmdata");
    let facts = go_facts(&program);
    let farm = Farm::go2020();

    let page = farm.builders_json("gopher");
    let theirs = facts["page"].as_str().unwrap();
    assert_eq!(
        differences(theirs, &page),
        [("\t\t\t\"ExpectNum\": 2,", "\t\t\t\"ExpectNum\": 1,")]
    );
    assert_eq!(
        differences(theirs, &farm.builders_json("other")).len(),
        2,
        "another user shows"
    );

    let builders = facts["builders"].as_object().unwrap();
    assert_eq!(builders.len(), farm.builders().count());
    let mut decisions = 0;
    for (name, want) in builders {
        let mut want = want.clone();
        // The URL of the module proxy is configuration here.
        for env in want["ModulesEnv"].as_object_mut().unwrap().values_mut() {
            for pair in env.as_array_mut().into_iter().flatten() {
                if pair.as_str().unwrap().starts_with("GOPROXY=https:") {
                    *pair = "GOPROXY=PROXY".into();
                }
            }
        }
        for key in ["GoBootstrapURL", "Github"] {
            if want[key].is_null() {
                want[key] = "".into();
            }
        }
        let got = describe(&farm.builder(name).unwrap(), &facts);
        for (key, want) in want.as_object().unwrap() {
            if key == "LimitSeconds" {
                assert_eq!(got[key].as_f64(), want.as_f64(), "{name} {key}");
            } else {
                assert_eq!(got[key], *want, "{name} {key}");
            }
        }
        let letters = want["Builds"].as_object().unwrap().values();
        decisions += letters
            .map(|letters| letters.as_str().unwrap().len())
            .sum::<usize>();
    }
    assert!(decisions > 350_000, "{decisions}");
    for (name, want) in facts["hosts"].as_object().unwrap() {
        let host = farm.host(name).unwrap();
        let url = match host.reverse {
            true => String::new(),
            false => host.buildlet_url("go-builder-data"),
        };
        let got = serde_json::json!({
            "PoolName": host.pool_name(), "MachineType": host.machine_type(),
            "ContainerVMImage": host.container_vm_image(), "BuildletURL": url,
            "VM": host.is_vm(), "Container": host.is_container(), "EC2": host.ec2,
            "Hermetic": host.is_hermetic(), "CPUs": host.cpus(),
        });
        assert_eq!(got, *want, "{name}");
    }
    for (key, want) in facts["tries"].as_object().unwrap() {
        let (project, branch) = key.split_once(' ').unwrap();
        let tried = farm
            .try_builders(&Target::subrepo(project, branch, branch))
            .unwrap();
        let got: Vec<_> = tried.iter().map(Builder::name).collect();
        assert_eq!(got, texts(want), "{key}");
    }
    for (term, names) in facts["slow"].as_object().unwrap() {
        let meant = farm.match_term(term).map(|builder| builder.name());
        // Go lets a term mean a builder of that name beside the alias's.
        assert!(texts(names).contains(&meant.unwrap()), "{term}");
    }
    for (path, want) in facts["gopath"].as_object().unwrap() {
        assert_eq!(Value::from(tests_in_gopath_mode(path)), *want, "{path}");
    }
    compat::record(
        &program,
        &[
            compat::Row {
                direction: "configuration",
                case: "/builders?mode=json, 70 hosts and 108 builders",
                seen: "equal but for the one number in which this version differs from 2020-12-23",
                control: "another user for the local host: one line more differs",
            },
            compat::Row {
                direction: "configuration",
                case: "every builder at every project, branch and Go branch, after submit and in try runs",
                seen: "the same decisions",
                control: "an unknown branch name passes the age gate in both",
            },
            compat::Row {
                direction: "configuration",
                case: "environments, scripts, helpers, limits, race packages, dist tests, pools of every builder and host",
                seen: "equal",
                control: "the URL of the module proxy, which is configuration here, is the one difference",
            },
        ],
    );
}

#[test]
fn environments_repositories_and_instances_are_the_go_librarys() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    let program = programs.join("farmdata");
    let facts = go_facts(&program);
    let environments = Environments::go2020();
    let all = facts["environments"].as_object().unwrap();
    assert_eq!(all.len(), environments.iter().count());
    for (id, want) in all {
        let one = environments.by_name(id).unwrap();
        let cluster = |c: &build_core::buildenv::Cluster| serde_json::json!({"MinNodes": c.min_nodes, "MaxNodes": c.max_nodes, "MachineType": c.machine_type, "Name": c.name});
        let zones = match one.vm_zones.is_empty() {
            true => Value::Null,
            false => one.vm_zones.clone().into(),
        };
        let got = serde_json::json!({
            "ProjectName": one.project, "ProjectNumber": one.project_number, "GoProjectName": one.go_project,
            "IsProd": one.is_prod, "ControlZone": one.control_zone, "VMZones": zones, "StaticIP": one.static_ip,
            "MachineType": one.machine_type, "KubeBuild": cluster(&one.kube_build), "KubeTools": cluster(&one.kube_tools),
            "PreferContainersOnCOS": one.prefer_containers_on_cos, "DashURL": one.dash_url, "PerfDataURL": one.perf_data_url,
            "CoordinatorName": one.coordinator_name, "BuildletBucket": one.buildlet_bucket, "LogBucket": one.log_bucket,
            "SnapBucket": one.snap_bucket, "MaxBuilds": one.max_builds, "AutoCertCacheBucket": one.autocert_cache_bucket,
            "COSServiceAccount": one.cos_service_account, "AWSSecurityGroup": one.aws_security_group, "AWSRegion": one.aws_region,
        });
        assert_eq!(got, want["fields"], "{id}");
        assert_eq!(want["same"], true, "{id}");
        assert_eq!(one.compute_prefix(), want["compute"], "{id}");
        assert_eq!(one.region().unwrap_or_default(), want["region"], "{id}");
        let rev = "0123456789012345678901234567890123456789";
        assert_eq!(
            one.snapshot_url("linux-amd64", rev).unwrap(),
            want["snapshot"],
            "{id}"
        );
        // Without one of its own, Go reads production's.
        let production = environments.by_name("production").unwrap().dash_base();
        assert_eq!(
            one.dash_base().or(production).unwrap(),
            want["dash"],
            "{id}"
        );
    }

    let repos = Repos::go2020();
    let all = facts["repos"].as_object().unwrap();
    assert_eq!(all.len(), repos.iter().count());
    for (name, want) in all {
        let repo = repos.by_project(name).unwrap();
        let got = serde_json::json!({
            "import": repo.import_path, "mirror": repo.mirrored, "github": repo.github, "build": repo.buildable,
            "dash": repo.on_dashboard, "desc": repo.description, "pkg": repo.pkg_site, "same": true,
        });
        assert_eq!(got, *want, "{name}");
    }

    for (text, want) in facts["instances"].as_object().unwrap() {
        let got = CoordinatorInstance::parse(text).map_or("error".to_owned(), |i| i.host_port());
        assert_eq!(got, *want, "{text}");
    }

    let records = &facts["records"];
    let text = |key: &str| records[key].to_string();
    // Read and written again: every member is known, and none is added.
    let reverse: status_json::ReverseBuilderStatus =
        status_json::read(text("reverse").as_bytes()).unwrap();
    let again = |value: String| serde_json::from_str::<Value>(&value).unwrap();
    assert!((reverse.host_types["host-a"].machines["m"].connected_sec - 1.5).abs() < f64::EPSILON);
    let ours = again(go_json::to_string(&reverse));
    assert_eq!(
        ours["HostTypes"]["host-a"]["Machines"]["m"]["Version"],
        "25"
    );
    assert_eq!(
        ours["HostTypes"]["host-a"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        records["reverse"]["HostTypes"]["host-a"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>()
    );
    let empty: status_json::ReverseBuilderStatus =
        status_json::read(text("reverse_empty").as_bytes()).unwrap();
    assert_eq!(again(go_json::to_string(&empty)), records["reverse_empty"]);
    let wait: status_json::BuildletWaitStatus = status_json::read(text("wait").as_bytes()).unwrap();
    assert_eq!(again(go_json::to_string(&wait)), records["wait"]);
    let active: Vec<status_json::ActivePostSubmitBuild> =
        status_json::read(text("active").as_bytes()).unwrap();
    assert_eq!(again(go_json::to_string(&active)), records["active"]);
    let build = status_json::read_build_status(text("build").as_bytes()).unwrap();
    assert_eq!(again(go_json::to_string(&build)), records["build"]);
    compat::record(
        &program,
        &[
            compat::Row {
                direction: "configuration",
                case: "environments, repositories, host and port of coordinators",
                seen: "equal",
                control: "an empty coordinator's name is an error in both",
            },
            compat::Row {
                direction: "JSON of Go, read and written again",
                case: "records of dashboard, active builds, waiting, reverse machines",
                seen: "equal",
                control: "a row with a result too few is refused",
            },
        ],
    );
}
