// The Go program that the tests of toolchains run beside ours, as an ordinary dependency.
//
// The protocol's reference date is 2020-12-23; the version below is the nearest that the module
// proxy serves and that still has the directory version.
module interop.test

go 1.23

require golang.org/x/build v0.0.0-20210109004647-789b9298d832
