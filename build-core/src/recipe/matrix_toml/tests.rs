use proptest::prelude::*;

use super::*;
use crate::ids::{BuilderName, CommitHash, RepoName};
use crate::plan::Plan;
use crate::recipe::FarmerToml;
use crate::work::WorkItem;

fn names(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.name.as_str()).collect()
}

fn plan(text: &str, builder: &str) -> Plan {
    let file = FarmerToml::parse(text).unwrap();
    file.plan(&BuilderName::new(builder).unwrap(), "test")
        .unwrap()
}

fn on(branch: &str) -> WorkItem {
    let commit = CommitHash::new("0".repeat(40)).unwrap();
    WorkItem {
        branch: Some(branch.into()),
        ..WorkItem::new(RepoName::new("r").unwrap(), "/r", commit)
    }
}

const STORY: &str = r#"
[[step]]
name = "build"
run = "make CC={matrix.cc}"
env = { CC = "{matrix.cc}" }
snapshot = "out/{matrix.cc}"

[[step]]
name = "test"
run = ["make", "test", "{matrix.cc}-{matrix.level}"]
needs = ["build"]
inputs = [{ step = "build", dir = "in" }]
builders = ["{matrix.os}"]

[[step]]
name = "pack"
run = "make dist"
needs = ["test"]

[[matrix]]
steps = ["build", "test"]
axes = { cc = ["gcc", "clang"], level = [1, 2], os = ["linux", "mac"] }
exclude = [{ cc = "gcc", os = "mac" }, { level = 2 }]
include = [{ cc = "tcc", level = 9, os = "linux" }]

[[builder]]
name = "linux"
[[builder]]
name = "mac"
"#;

#[test]
fn a_matrix_is_unfolded_into_steps_with_names_that_say_what_they_are() {
    let linux = plan(STORY, "linux");
    assert_eq!(
        names(&linux),
        [
            "build [cc=gcc, level=1, os=linux]",
            "build [cc=clang, level=1, os=linux]",
            "build [cc=clang, level=1, os=mac]",
            "build [cc=tcc, level=9, os=linux]",
            "test [cc=gcc, level=1, os=linux]",
            "test [cc=clang, level=1, os=linux]",
            "test [cc=tcc, level=9, os=linux]",
            "pack",
        ]
    );
    // A cell needs its own cell; a step outside needs all cells that its builder runs.
    let (build, test) = (&linux.steps[0], &linux.steps[4]);
    assert_eq!(test.needs, std::slice::from_ref(&build.name));
    assert_eq!(test.inputs[0].step, build.name);
    assert_eq!(test.run.text(), "make test gcc-1");
    assert_eq!(build.env["CC"], "gcc");
    assert_eq!(build.snapshot.as_deref(), Some("out/gcc"));
    let of_linux: Vec<_> = linux.steps[4..7]
        .iter()
        .map(|step| step.name.clone())
        .collect();
    assert_eq!(linux.steps[7].needs, of_linux);
    let mac = plan(STORY, "mac");
    assert_eq!(mac.steps.last().unwrap().needs.len(), 1);
}

#[test]
fn conditions_leave_out_cells_and_what_needs_them() {
    let text = r#"
[[step]]
name = "test"
run = "t {matrix.os}"
builders = ["{matrix.os}"]
[[step]]
name = "after"
run = "a"
needs = ["test"]
[[step]]
name = "lint"
run = "l"
builders = ["linux"]
when = [{ branch = "main" }, { paths = ["src/**"] }]
[[matrix]]
steps = ["test"]
axes = { os = ["linux"] }
[[matrix]]
steps = ["test"]
axes = { os = ["mac", "bsd"] }
when = { branch = ["main", "release/*"] }
[[builder]]
name = "linux"
[[builder]]
name = "mac"
[[builder]]
name = "bsd"
"#;
    let file = FarmerToml::parse(text).unwrap();
    let builders = |branch: &str| {
        let all = file.builders_for(&on(branch)).into_iter();
        all.map(|builder| builder.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(builders("main"), ["linux", "mac", "bsd"]);
    assert_eq!(builders("topic"), ["linux"]);
    let [linux, mac] = ["linux", "mac"].map(|name| BuilderName::new(name).unwrap());
    let on_main = file.plan_for(&on("main"), &linux, "r").unwrap();
    assert_eq!(names(&on_main), ["test [os=linux]", "after", "lint"]);
    assert!(on_main.steps[2].when.is_empty(), "it is on main");
    let on_topic = file.plan_for(&on("topic"), &linux, "r").unwrap();
    assert_eq!(on_topic.steps[2].when.to_string(), "when src/** changes");
    let none = file.plan_for(&on("topic"), &mac, "r").unwrap_err();
    assert_eq!(
        none.to_string(),
        "no step runs for this commit; left out: test [os=mac] (only on branch main or release/*), \
         after (it needs test [os=mac])"
    );
}

#[test]
fn errors_name_the_line_and_the_remedy() {
    let step = "[[step]]\nname = 'a'\nrun = 'x {matrix.os}'\n\n";
    let cases = [
        (
            "[[matrix]]\naxes = { oss = ['l'] }\n",
            "step \"a\" in line 1 has {matrix.os}, and its [[matrix]] no such axis",
            "did you mean \"oss\"?",
        ),
        (
            "[[matrix]]\nsteps = ['b']\naxes = { os = ['l'] }\n",
            "[[matrix]] in line 5: \"b\" is not a step",
            "did you mean \"a\"?",
        ),
        (
            "[[matrix]]\naxes = { os = [1.10] }\n",
            "[[matrix]] in line 5: os = 1.1 loses its zeros: 1.10 is 1.1",
            "write it as a text: os = [\"1.10\"]",
        ),
        (
            "[[matrix]]\naxes = { os = [] }\n",
            "[[matrix]] in line 5 has no combination",
            "give it values, such as axes = { os = [\"linux\", \"mac\"] }, or take it out",
        ),
        (
            "[[matrix]]\naxes = { os = ['l'] }\nexclude = [\n  { os = 'm' },\n]\n",
            "exclude in line 8 leaves nothing out: no combination has os=m",
            "take it out, or see whether its values are those of `axes`",
        ),
        (
            "[[matrix]]\naxes = { os = ['l'], v = [1] }\ninclude = [{ os = 'm' }]\n",
            "include in line 7 has no value for v",
            "add v = \"...\"",
        ),
        (
            "[[matrix]]\naxes = { os = ['l'] }\ninclude = [{ of = 'm' }]\n",
            "include in line 7: \"of\" is no axis of the matrix",
            "did you mean \"os\"?",
        ),
        (
            "[[matrix]]\naxes = { os = ['l'] }\n[[matrix]]\naxes = { os = ['m', 'l'] }\n",
            "[[matrix]] in line 7 makes step \"a [os=l]\" again, which the one in line 5 makes",
            "take it out of one of them with `exclude`",
        ),
        (
            "[[matrix]]\naxes = { os = ['l', 'l'] }\n",
            "[[matrix]] in line 5: os has \"l\" twice",
            "take one of them out",
        ),
        (
            "[[matrix]]\naxes = { os = ['a,b'] }\n",
            "[[matrix]] in line 5: os = \"a,b\" cannot stand in the name of a step",
            "use a text without blanks at its ends and without [ ] { } and commas",
        ),
        (
            "[[matrix]]\naxes = { os = ['l'] }\nwhen = { brunch = 'x' }\n",
            "unknown key \"matrix[0].when.brunch\"",
            "did you mean \"branch\"?",
        ),
        (
            "[[matrix]]\naxes = { os = ['l'] }\nwhen = { trust = 'full' }\n",
            "[[matrix]] in line 5: \"full\" is no trust that a commit can have",
            "there are: unknown, untrusted, trusted",
        ),
        (
            "[[matrix]]\naxes = { os = ['l'] }\nwhen = {}\n",
            "[[matrix]] in line 5: a condition of `when` says nothing",
            "give it `branch`, `tag`, `paths` or `trust`",
        ),
        (
            "",
            "step \"a\" in line 1 has a value of a matrix, and is in no [[matrix]]",
            "add \"a\" to the `steps` of the [[matrix]]",
        ),
    ];
    for (more, text, hint) in cases {
        let error = FarmerToml::parse(&format!("{step}{more}")).unwrap_err();
        let said = (
            error.to_string(),
            error.hint().unwrap_or_default().to_owned(),
        );
        assert_eq!(said, (text.to_owned(), hint.to_owned()), "{more}");
    }
    let cached =
        "[[step]]\nname = 'a'\nrun = 'x'\ncache = ['t']\n[[matrix]]\naxes = { v = [1, 2] }\n";
    let error = FarmerToml::parse(cached).unwrap_err().to_string();
    let text = "step \"a [v=2]\" in line 1 keeps \"t\" in the `cache` that another combination keeps it in";
    assert_eq!(error, text);
    FarmerToml::parse(&cached.replace("'t'", "'t{matrix.v}'")).unwrap();
    let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
    let many = format!("{step}[[matrix]]\naxes = {{ os = {many:?}, b = {many:?} }}\n");
    let error = FarmerToml::parse(&many).unwrap_err().to_string();
    assert_eq!(error, "[[matrix]] in line 5 has more than 256 combinations");
    let alone = FarmerToml::parse("[[matrix]]\naxes = { os = ['l'] }").unwrap_err();
    assert_eq!(alone.to_string(), "[[matrix]] in line 1 has no step to run");
}

proptest! {
    #[test]
    fn cells_are_the_product_without_and_with(
        os in prop::collection::btree_set("[a-c]{1,2}", 1..4),
        v in prop::collection::btree_set(0i64..9, 1..4),
        out in (0usize..3, 0usize..3),
        more in any::<bool>(),
    ) {
        let (os, v): (Vec<_>, Vec<_>) = (os.into_iter().collect(), v.into_iter().collect());
        let (o, n) = (&os[out.0 % os.len()], v[out.1 % v.len()]);
        let include = if more { "include = [{ os = \"zz\", v = 99 }]\n" } else { "" };
        let text = format!(
            "[[step]]\nname = 'a'\nrun = '{{matrix.os}} {{matrix.v}}'\n[[step]]\nname = 'b'\nrun = 'x'\nneeds = ['a']\n\
             [[matrix]]\nsteps = ['a']\naxes = {{ os = {os:?}, v = {v:?} }}\nexclude = [{{ os = {o:?}, v = {n} }}]\n{include}"
        );
        let all = os.len() * v.len() - 1 + usize::from(more);
        let file = FarmerToml::parse(&text);
        if all == 0 {
            prop_assert!(file.is_err());
            return Ok(());
        }
        let file = file.unwrap();
        prop_assert_eq!(file.steps().len(), all + 1);
        let cells: BTreeSet<String> = file.steps()[..all].iter().map(|s| s.run.text().into_owned()).collect();
        prop_assert_eq!(cells.len(), all);
        let left_out = format!("{o} {n}");
        prop_assert!(!cells.contains(&left_out));
        prop_assert_eq!(cells.contains("zz 99"), more);
        prop_assert_eq!(file.steps()[all].needs.len(), all);
    }

    #[test]
    fn no_text_of_a_matrix_panics(axes in "[a-z0-9\\[\\]{}=\", '.]{0,30}", when in "[a-z\\[\\]{}=\", '!]{0,30}", run in "[a-z{}.]{0,20}") {
        let text = format!("[[step]]\nname='a'\nrun='x{run}{{matrix.{run}'\nwhen={when}\n[[matrix]]\naxes={axes}\n");
        crate::recipe::fuzz_farmer_toml(text.as_bytes());
    }
}
