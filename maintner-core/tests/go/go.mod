// The Go peers of the interop tests: the maintner library of golang.org/x/build,
// as an ordinary dependency.
//
// The protocol's reference date is 2020-12-23, the state that is
// v0.0.0-20201223195856-0a4bf693f613. The module proxy did not serve that version
// when this was written, so the peer is the nearest later one that it serves; the
// log and the rules of the corpus are the same in both.
module interop.test/maintner

go 1.23

require (
	github.com/golang/protobuf v1.4.3
	golang.org/x/build v0.0.0-20210913192547-14e3e09d6b10
	grpc.go4.org v0.0.0-20170609214715-11d0a25b4919
)

require (
	github.com/google/go-github v17.0.0+incompatible // indirect
	github.com/google/go-querystring v1.0.0 // indirect
	github.com/gregjones/httpcache v0.0.0-20180305231024-9cad4c3443a7 // indirect
	go4.org v0.0.0-20180809161055-417644f6feb5 // indirect
	golang.org/x/net v0.0.0-20210726213435-c6fcb2dbf985 // indirect
	golang.org/x/oauth2 v0.0.0-20210628180205-a41e5a781914 // indirect
	golang.org/x/sync v0.0.0-20210220032951-036812b2e83c // indirect
	golang.org/x/text v0.3.6 // indirect
	golang.org/x/time v0.0.0-20210723032227-1f47c861a9ac // indirect
	google.golang.org/appengine v1.6.6 // indirect
	google.golang.org/protobuf v1.25.0 // indirect
)
