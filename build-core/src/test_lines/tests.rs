use proptest::prelude::*;

use super::*;

fn counts(text: &str) -> TestCounts {
    let mut lines = TestLines::default();
    lines.feed(text.as_bytes());
    lines.finish()
}

#[track_caller]
fn check(text: &str, passed: u64, skipped: u64, failures: &[&str]) {
    let found = counts(text);
    assert_eq!(found.failures, failures, "{text}");
    assert_eq!((found.passed, found.skipped), (passed, skipped), "{text}");
}

#[test]
fn libtest_and_its_doc_tests() {
    let text = "running 3 tests\ntest a::b ... ok\ntest c - should panic ... FAILED\n\
        test src/lib.rs - x (line 3) ... ignored, slow\n\nfailures:\n    c\ntest result: FAILED. 1 passed\n";
    check(text, 1, 1, &["c"]);
}

#[test]
fn go_names_the_package_after_its_tests() {
    let text = "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/sub (0.00s)\n    a_test.go:3: no\nFAIL\n\
        FAIL\texample.com/a\t0.003s\nok  \texample.com/b\t(cached)\n?   \texample.com/c\t[no test files]\n\
        FAIL\texample.com/d [build failed]\n--- PASS: TestX (0.00s)\n";
    let failures = [
        "example.com/a.TestA",
        "example.com/a.TestA/sub",
        "example.com/d",
    ];
    check(text, 2, 0, &failures);
}

#[test]
fn pytest_tells_a_failure_twice_and_it_counts_once() {
    let text = "tests/test_a.py::test_x PASSED   [ 50%]\ntests/test_a.py::test_y FAILED   [100%]\n\
        tests/test_a.py::test_z SKIPPED (no)\n=== short test summary info ===\n\
        FAILED tests/test_a.py::test_y - assert 1 == 2\nERROR: something else\n";
    check(text, 1, 1, &["tests/test_a.py::test_y"]);
}

#[test]
fn ctest_nextest_tap_and_node() {
    check(
        "1/2 Test #1: one ......   Passed    0.01 sec\n2/2 Test #2: two ......***Failed    0.01 sec\n",
        1,
        0,
        &["two"],
    );
    check(
        "    PASS [   0.005s] core a::b\n    FAIL [   1.200s] core a::c\n",
        1,
        0,
        &["core a::c"],
    );
    check(
        "ok 1 - one\nnot ok 2 - two\nok 3 - three # SKIP later\n1..3\nok then\n",
        1,
        1,
        &["two"],
    );
    check(
        "\u{2714} adds (0.5ms)\n\u{2716} takes (1.5ms)\n",
        1,
        0,
        &["takes"],
    );
}

#[test]
fn colours_and_carriage_returns_do_not_matter() {
    check("test a ... \u{1b}[32mok\u{1b}(B\u{1b}[m\r\n", 0, 0, &[]);
    check("test a ... \u{1b}[32mok\u{1b}[0m\r\n", 1, 0, &[]);
}

#[test]
fn prose_and_endless_lines_say_nothing() {
    let long = format!("test {} ... FAILED\n", "x".repeat(MAX_LINE_BYTES));
    assert!(counts(&long).is_empty());
    assert!(counts("ok, that was the test ... of it\nFAIL early\nnot ok at all\n").is_empty());
}

#[test]
fn names_are_the_bytes_that_were_printed() {
    let mark = "\u{10ffff}";
    let text = [
        b"test a\xff\x80 ... FAILED\ntest ",
        mark.as_bytes(),
        b" ... FAILED\n",
    ]
    .concat();
    let mut lines = TestLines::with_results();
    lines.feed(&text);
    let results = lines.take_results();
    let names: Vec<Name> = results.into_iter().map(|result| result.name).collect();
    assert_eq!(names, [Name::from(b"a\xff\x80".to_vec()), mark.into()]);
    assert_eq!(lines.finish().failures, names);
}

#[test]
fn each_test_has_one_result_with_its_time() {
    let text =
        "--- PASS: TestA (0.02s)\n--- FAIL: TestB (0.00s)\nFAIL\tp\t1s\n--- SKIP: TestC (0.00s)\n";
    let mut lines = TestLines::with_results();
    lines.feed(text.as_bytes());
    lines.end();
    let results = lines.take_results();
    let told: Vec<_> = results
        .iter()
        .map(|r| (r.name.as_str().unwrap(), r.end, r.took_us))
        .collect();
    let expected = [
        ("TestA", TestEnd::Passed, Some(20_000)),
        ("p.TestB", TestEnd::Failed, None),
        ("TestC", TestEnd::Skipped, Some(0)),
    ];
    assert_eq!(told, expected);
    assert!(lines.take_results().is_empty());
    let counts = lines.finish();
    assert_eq!((counts.passed, counts.failed, counts.skipped), (1, 1, 1));
}

#[test]
fn many_failures_are_counted_and_the_first_named() {
    let text: String = (0..1500)
        .map(|n| format!("test t{n} ... FAILED\n"))
        .collect();
    let found = counts(&text);
    assert_eq!((found.failed, found.failures.len()), (1500, MAX_FAILED));
}

/// Lines of every runner, and lines near them.
const LINES: &str = "( |\t){0,2}(\u{1b}\\[3[0-9]m)?(test [a-c] \\.\\.\\. (ok|FAILED)|--- (FAIL|PASS): T|(FAIL|ok)\tp\t1s\
    |a\\.py::b (PASSED|FAILED)|FAILED a\\.py - x|1/3 Test  #1: n \\.\\.\\. +(Passed|\\*\\*\\*Failed)\
    |(PASS|FAIL|SIGABRT|TIMEOUT) \\[ 1s\\] c n|(not )?ok 1 - n|[✔✖] n \\(1ms\\)|[a-z]{0,3})";

proptest! {
    #[test]
    fn a_glance_drops_no_line_of_a_runner(line in LINES) {
        let mut read = TestLines::default();
        read.read(&plain(line.as_bytes()));
        prop_assert_eq!(counts(&line), read.finish());
    }

    #[test]
    fn any_output_is_survived(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_test_lines(&data);
    }

    #[test]
    fn pieces_do_not_matter(lines in proptest::collection::vec("(test [a-c] \\.\\.\\. (ok|FAILED)|--- FAIL: T[a-c]|FAIL\tp\t1s)", 0..20)) {
        fuzz_test_lines(lines.join("\n").as_bytes());
    }
}

#[test]
fn names_are_not_cut() {
    check(
        "t.py::x[a - b] FAILED [ 50%]\nt.py::x[a - c] FAILED [100%]\nt.py::y[ ] SKIPPED (not [now]) [100%]\n\
         FAILED t.py::x[a - b] - assert 1 == 2\nFAILED t.py::x[a - c] - x\n2 failed, 1 skipped in 0.02s\n",
        0,
        1,
        &["t.py::x[a - b]", "t.py::x[a - c]"],
    );
    // Without the long form only the summary tells names.
    check(
        ".F\nFAILED t.py::x[a - b] - assert [1] - 2\nFAILED t.py::z - KeyError: 'a'\n= 2 failed, 7 passed in 0.1s =\n",
        7,
        0,
        &["t.py::x[a - b]", "t.py::z"],
    );
    check(
        "[gw0] [ 50%] PASSED t.py::a \n[gw1] [100%] FAILED t.py::b[x y] \n",
        1,
        0,
        &["t.py::b[x y]"],
    );
}

#[test]
fn go_tests_are_told_as_text_and_as_json() {
    check(
        "X--- FAIL: TestA (0.00s)\nFAIL\tp\t0.1s\n",
        0,
        0,
        &["p.TestA"],
    );
    check(
        "{\"Time\":\"t\",\"Action\":\"output\",\"Package\":\"p\",\"Output\":\"--- FAIL: T (0.00s)\\n\"}\n\
         {\"Action\":\"fail\",\"Package\":\"p\",\"Test\":\"T/a b\",\"Elapsed\":1.5}\n\
         {\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"U\"}\n{\"Action\":\"fail\",\"Package\":\"p\"}\n\
         {\"Action\":\"fail\",\"Package\":\"q\"}\n",
        1,
        0,
        &["p.T/a b", "q"],
    );
}

#[test]
fn directives_of_tap() {
    check(
        "not ok 2 # TODO later\nok 3 # SKIP no\nnot ok 4\nnot ok 5 - x # todo soon\nok 6\n",
        1,
        3,
        &["4"],
    );
}

#[test]
fn javascript_runners() {
    check(
        "FAIL ./a.test.js\n  sum\n    \u{2713} adds (2 ms)\n    \u{2715} takes (1 ms)\n    \u{25cb} skipped waits\n\n\
         \x20 \u{25cf} sum \u{203a} takes\n\nTests:       1 failed, 1 skipped, 1 passed, 3 total\n",
        1,
        1,
        &["sum \u{203a} takes"],
    );
    check(
        " \u{2713} src/a.test.ts (3 tests) 2ms\n \u{276f} src/b.test.ts (2 tests | 1 failed) 5ms\n   \u{d7} s > takes 3ms\n\
         \x20FAIL  src/b.test.ts > s > takes\n      Tests  1 failed | 4 passed (5)\n",
        4,
        0,
        &["src/b.test.ts > s > takes"],
    );
    check(
        "  sum\n    \u{2714} adds\n    1) takes\n\n  1 passing (5ms)\n  1 pending\n  1 failing\n\n  1) sum\n       takes:\n",
        1,
        1,
        &["takes"],
    );
}

#[test]
fn maven_meson_automake_and_unittest() {
    check(
        "[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0.05 s -- in a.B\n\
         [ERROR] Tests run: 2, Failures: 1, Errors: 0, Skipped: 0, Time elapsed: 0.05 s <<< FAILURE! -- in a.C\n\
         [ERROR] a.C.fails -- Time elapsed: 0.01 s <<< FAILURE!\n[ERROR] Tests run: 5, Failures: 1, Errors: 0, Skipped: 1\n",
        3,
        1,
        &["a.C.fails"],
    );
    check(
        "1/3 p:unit / a b      OK              0.01s\n2/3 two   FAIL            0.02s   exit status 1\n3/3 three SKIP 0.00s   exit status 77\n",
        1,
        1,
        &["two"],
    );
    check(
        "PASS: a.sh\nFAIL: b.sh\nXFAIL: c.sh\nERROR: prose\n",
        1,
        1,
        &["b.sh"],
    );
    check(
        "test_a (t.T.test_a) ... ok\ntest_b (t.T.test_b) ... FAIL\nFAIL: test_b (t.T.test_b)\n",
        1,
        0,
        &["test_b (t.T.test_b)"],
    );
}

#[test]
fn the_slowest_are_kept() {
    let text: String = (0..20)
        .map(|n| format!("--- PASS: T{n} (0.{n:02}s)\n"))
        .collect();
    let found = counts(&text);
    assert_eq!(found.slowest.len(), MAX_SLOWEST);
    assert_eq!(
        (found.slowest[0].name.as_str(), found.slowest[0].took_us),
        (Some("T19"), 190_000)
    );
}

#[test]
fn a_runner_with_nothing_to_run_is_heard() {
    for text in [
        "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed\n",
        "No tests were found!!!\n",
        "collected 0 items\n\n==== no tests ran in 0.00s ====\n",
        "ok  \tp\t0.001s [no tests to run]\n",
        "1..0 # SKIP all\n",
        "Ran 0 tests in 0.000s\n",
        "  0 passing (1ms)\n",
        "No tests found, exiting with code 1\n",
        "[INFO] No tests to run.\n",
        "No tests defined.\n",
    ] {
        assert!(counts(text).none_ran, "{text}");
    }
    assert!(!counts("running 0 tests\ntest a ... ok\n").none_ran);
    assert!(!counts("hello\n").none_ran);
}
