// The Go peers of the interop tests: the client library and the buildlet program
// of golang.org/x/build, as ordinary dependencies.
//
// The protocol's reference date is 2020-12-23, the state that is
// v0.0.0-20201223195856-0a4bf693f613. The module proxy did not serve that version
// when this was written ("not available"), so the peer is the older one below: a
// buildlet of version 18 instead of 25, and a client whose calls take no contexts.
module interop.test

go 1.23

require golang.org/x/build v0.0.0-20190111050920-041ab4dc3f9d

require (
	cloud.google.com/go v0.31.0 // indirect
	github.com/golang/protobuf v1.2.0 // indirect
	github.com/tarm/serial v0.0.0-20180830185346-98f6abe2eb07 // indirect
	golang.org/x/net v0.0.0-20181029044818-c44066c5c816 // indirect
	golang.org/x/oauth2 v0.0.0-20181017192945-9dcd33a902f4 // indirect
	golang.org/x/sys v0.0.0-20181029174526-d69651ed3497 // indirect
	google.golang.org/api v0.0.0-20181030000543-1d582fd0359e // indirect
	google.golang.org/appengine v1.2.0 // indirect
	gopkg.in/inf.v0 v0.9.1 // indirect
)
