use proptest::prelude::*;

use super::*;

fn one(log: &str) -> LogFailure {
    let mut found = failures_of(log);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn vectors_of_the_protocol() {
    for blank in ["\t", "    "] {
        let log = format!(
            "--- FAIL: TestA (0.00s)\n{blank}a_test.go:7: boom\nFAIL\nFAIL\texample.com/p\t0.1s\n"
        );
        let failure = one(&log);
        assert_eq!(failure.package, "example.com/p");
        assert_eq!(
            (&*failure.test, &*failure.file, failure.line),
            ("TestA", "a_test.go", 7)
        );
        assert_eq!(failure.message, "boom");
        assert!(failure.full_message.ends_with("FAIL\texample.com/p"));
    }
    let failure = one("FAIL\texample.com/p [build failed]\n");
    assert_eq!(
        (&*failure.package, &*failure.message),
        ("example.com/p", "build failed")
    );
    let failure = one(
        "panic: test timed out after 3m0s\n\ngoroutine 5 [running]:\nexample.com/p.TestHang(0xc0)\n\
         \t/x/p_test.go:9 +0x1d\nFAIL\texample.com/p\t180s\n",
    );
    assert_eq!(
        (&*failure.package, &*failure.test),
        ("example.com/p", "TestHang")
    );
    assert_eq!(failure.message, "test timed out");
    let failure = one(
        "##### Testing packages.\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:\n\
         main.f(0x1)\n\t/x/f.go:12 +0x1d\nexit status 2\nFAIL\texample.com/p\t0.1s\n",
    );
    assert_eq!(
        failure.package, "example.com/p",
        "not `testing`, as the Go program says"
    );
    assert_eq!(failure.message, "runtime error: index out of range");
    assert!(failure.full_message.ends_with("\nFAIL\texample.com/p"));
    assert_eq!(
        (&*failure.function, &*failure.file, failure.line),
        ("main.f", "/x/f.go", 12)
    );
    let failure = one("##### ../test\nsome text\n2020/01/01 Failed: exit status 1\n");
    assert_eq!(
        (&*failure.package, &*failure.message),
        ("../test", "unknown failure: some text")
    );
    let failure = one("##### Testing packages.\nok  \tfmt\t0.1s\nxx: no space left on device\n");
    assert_eq!(failure.message, "build failed (no space left on device)");
    assert_eq!(one("something odd\n").message, "toolchain build failed");
}

#[test]
fn other_forms() {
    let failure = one("x\r\r\nFAIL\tp\t0.1s\r\n");
    assert_eq!(
        (&*failure.package, &*failure.message),
        ("p", "unknown failure: x")
    );
    let failure = one(
        "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\n\
         runtime.throw(0x1)\n\t/go/panic.go:1 +0x1\nmain.(*T).wait(0xc0)\n\t/x/w.go:3 +0x1\nexit status 2\n",
    );
    assert_eq!(
        (&*failure.package, &*failure.function),
        ("runtime", "main.(*T).wait")
    );
    let failure =
        one("# go run run.go -- fixedbugs/a.go\nexit status 1\nmore\nFAIL\tfixedbugs/a.go\t0.5s\n");
    assert_eq!(
        (&*failure.package, &*failure.message),
        ("test/fixedbugs/a.go", "exit status 1")
    );
    let failure = one(
        "goroutine 9 [sleep]:\np.TestSlow(0x1)\n\t/x/a_test.go:4 +0x1\n*** Test killed: ran too long\nFAIL\tp\t600s\n",
    );
    assert_eq!(
        (&*failure.test, &*failure.message),
        ("TestSlow", "test timed out")
    );
    let failure = one(
        "--- FAIL: TestB-4 (0.00s)\npanic: oh [recovered]\np.b(0x1)\n\t/x/b.go:2 +0x1\nFAIL\tp\n",
    );
    assert_eq!(
        (&*failure.test, &*failure.message, failure.line),
        ("TestB", "oh", 2)
    );
    assert_eq!(
        one("Error running API checker: exit status 1\n").package,
        "API checker"
    );
    assert_eq!(
        one("Test \"go_test:net\" ran over 10m limit\n").message,
        "build failed (timed out)"
    );
    assert!(failures_of("##### Testing packages.\nok  \tfmt\t0.1s\n").is_empty());
    let failure = one("--- FAIL: TestC (1s)\n\n... log truncated ...\n");
    assert_eq!((&*failure.test, &*failure.package), ("TestC", ""));
    assert_eq!(one("FAIL\t_/tmp/x/go/src/net\t1s\n").package, "go/src/net");
}

#[test]
fn the_same_in_many_packages_is_told_once() {
    let panic = |n: u32| {
        format!(
            "panic: no memory at 0x{n}af\n\ngoroutine {n} [running]:\nos.f(0x{n})\n\t/x/f.go:1 +0x1\nFAIL\tp{n}\t1s\n"
        )
    };
    let log: String = (1..=6).map(panic).collect();
    let failure = one(&log);
    assert_eq!(
        (&*failure.package, &*failure.message),
        ("", "no memory at 0x1af")
    );
    assert_eq!(failure.signature().message, "no memory at …");
    let few: String = (1..=4).map(panic).collect();
    assert_eq!(failures_of(&few).len(), 4);
}

proptest! {
    #[test]
    fn no_log_is_too_odd(parts in prop::collection::vec(prop::sample::select(vec![
        "--- FAIL: Test (1s)\n", "FAIL\tp\t1s\n", "FAIL\n", "panic: x\n", "fatal error: y", "runtime: z\n",
        "goroutine 1 [r]:\n", "a.b(0x1)\n", "\t/x/y.go:3 +0x1\n", "... log truncated ...\n", "\r\n", "##### s\n",
        "# go run run.go\n", "*** Test killed: ran too long\n", "exit status 2\n", "ok  \tq\n", "é\n", "exitcode=1FAIL\tp\n",
    ]), 0..30)) {
        for failure in failures_of(&parts.concat()) {
            prop_assert!(!failure.message.contains('\n'));
        }
    }
}
