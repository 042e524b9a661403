// The Go peers of the interop tests: the maintner library of golang.org/x/build,
// as an ordinary dependency.
//
// The protocol's reference date is 2020-12-23, the state that is
// v0.0.0-20201223195856-0a4bf693f613. The module proxy did not serve that version
// when this was written ("not available"), so the peer is the older one below, the
// same as of the buildlet's tests: it knows neither body_change (field 31 of an issue)
// nor deleted_refs (field 4 of a Gerrit mutation).
module interop.test/maintner

go 1.23

require (
	github.com/golang/protobuf v1.2.0
	golang.org/x/build v0.0.0-20190111050920-041ab4dc3f9d
)

require (
	github.com/google/go-github v17.0.0+incompatible // indirect
	github.com/google/go-querystring v1.0.0 // indirect
	github.com/gregjones/httpcache v0.0.0-20180305231024-9cad4c3443a7 // indirect
	go4.org v0.0.0-20180809161055-417644f6feb5 // indirect
	golang.org/x/net v0.0.0-20181029044818-c44066c5c816 // indirect
	golang.org/x/oauth2 v0.0.0-20181017192945-9dcd33a902f4 // indirect
	golang.org/x/sync v0.0.0-20180314180146-1d60e4601c6f // indirect
	golang.org/x/time v0.0.0-20180412165947-fbb02b2291d2 // indirect
	google.golang.org/appengine v1.2.0 // indirect
)
