// The Go peers of the interop tests: the client library and the buildlet program
// of golang.org/x/build, as ordinary dependencies.
//
// The protocol's reference date is 2020-12-23, the state that is
// v0.0.0-20201223195856-0a4bf693f613. The module proxy does not serve that version; of
// those it serves, the one below is the nearest: of 2021-09-13, with a buildlet that says
// version 25 as the one of 2020 did, and a client whose calls take contexts.
module interop.test

go 1.23

require golang.org/x/build v0.0.0-20210913192547-14e3e09d6b10

require (
	cloud.google.com/go v0.65.0 // indirect
	github.com/aws/aws-sdk-go v1.30.15 // indirect
	github.com/golang/groupcache v0.0.0-20200121045136-8c9f03a8e57e // indirect
	github.com/golang/protobuf v1.4.3 // indirect
	github.com/googleapis/gax-go/v2 v2.0.5 // indirect
	github.com/jmespath/go-jmespath v0.3.0 // indirect
	github.com/tarm/serial v0.0.0-20180830185346-98f6abe2eb07 // indirect
	go.opencensus.io v0.23.0 // indirect
	golang.org/x/net v0.0.0-20210726213435-c6fcb2dbf985 // indirect
	golang.org/x/oauth2 v0.0.0-20210628180205-a41e5a781914 // indirect
	golang.org/x/sync v0.0.0-20210220032951-036812b2e83c // indirect
	golang.org/x/sys v0.0.0-20210630005230-0f9fa26af87c // indirect
	golang.org/x/text v0.3.6 // indirect
	golang.org/x/time v0.0.0-20210723032227-1f47c861a9ac // indirect
	google.golang.org/api v0.30.0 // indirect
	google.golang.org/appengine v1.6.6 // indirect
	google.golang.org/genproto v0.0.0-20200825200019-8632dd797987 // indirect
	google.golang.org/grpc v1.33.2 // indirect
	google.golang.org/protobuf v1.25.0 // indirect
	gopkg.in/inf.v0 v0.9.1 // indirect
)
