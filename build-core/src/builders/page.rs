use std::collections::BTreeMap;

use serde::Serialize;

use super::{Builder, Farm, Host};
use crate::go_json;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Page<'f> {
    builders: BTreeMap<&'f str, BuilderJson<'f>>,
    hosts: BTreeMap<&'f str, HostJson<'f>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BuilderJson<'f> {
    name: &'f str,
    host_type: &'f str,
    known_issue: u64,
    notes: &'f str,
    compile_only: bool,
    flaky_net: bool,
    minimum_go_version: VersionJson,
    skip_snapshot: bool,
    run_bench: bool,
    stop_after_make: bool,
    install_race_packages: Option<&'f [String]>,
    go_deps: Option<&'f [String]>,
    cross_compile_config: Option<CrossCompileJson<'f>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VersionJson {
    major: u16,
    minor: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CrossCompileJson<'f> {
    compile_host_type: &'f str,
    #[serde(rename = "CCForTarget")]
    cc_for_target: &'f str,
    #[serde(rename = "GOARM")]
    goarm: &'f str,
    always_cross_compile: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostJson<'f> {
    host_type: &'f str,
    #[serde(rename = "VMImage")]
    vm_image: &'f str,
    container_image: &'f str,
    is_reverse: bool,
    regular_disk: bool,
    #[serde(rename = "MinCPUPlatform")]
    min_cpu_platform: &'f str,
    expect_num: u32,
    hermetic_reverse: bool,
    nested_virt: bool,
    #[serde(rename = "KonletVMImage")]
    konlet_vm_image: &'f str,
    owner: &'f str,
    owner_github: &'f str,
    notes: &'f str,
    #[serde(rename = "SSHUsername")]
    ssh_username: &'f str,
}

impl Farm {
    /// The body of `GET /builders?mode=json`, as the Go coordinator writes it: content type
    /// `application/json`. `user` is the one that the server runs as.
    #[must_use]
    pub fn builders_json(&self, user: &str) -> String {
        let page = Page {
            builders: self.builders().map(|b| (b.name(), builder(&b))).collect(),
            hosts: self.hosts().map(|h| (&*h.name, host(h, user))).collect(),
        };
        go_json::to_string_indented(&page)
    }
}

fn builder<'f>(builder: &Builder<'f>) -> BuilderJson<'f> {
    let record = builder.record();
    BuilderJson {
        name: &record.name,
        host_type: &record.host,
        known_issue: record.known_issue,
        notes: &record.notes,
        compile_only: record.compile_only,
        flaky_net: record.flaky_net,
        minimum_go_version: VersionJson {
            major: record.min_go.major,
            minor: record.min_go.minor,
        },
        skip_snapshot: record.skip_snapshot,
        run_bench: record.run_bench,
        stop_after_make: record.stop_after_make,
        install_race_packages: record.race_packages.as_deref(),
        go_deps: record.go_deps.as_deref(),
        cross_compile_config: record.cross_compile.as_ref().map(|cross| CrossCompileJson {
            compile_host_type: &cross.compile_host,
            cc_for_target: &cross.cc_for_target,
            goarm: &cross.goarm,
            always_cross_compile: cross.always,
        }),
    }
}

fn host<'f>(host: &'f Host, user: &'f str) -> HostJson<'f> {
    HostJson {
        host_type: &host.name,
        vm_image: &host.vm_image,
        container_image: &host.container_image,
        is_reverse: host.reverse,
        regular_disk: host.regular_disk,
        min_cpu_platform: &host.min_cpu_platform,
        expect_num: host.expect,
        hermetic_reverse: host.hermetic_reverse,
        nested_virt: host.nested_virt,
        konlet_vm_image: &host.konlet_vm_image,
        owner: &host.owner,
        owner_github: &host.owner_github,
        notes: &host.notes,
        ssh_username: match host.ssh_user.as_str() {
            "$USER" => user,
            name => name,
        },
    }
}
